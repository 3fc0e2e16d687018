"""How often each source's demonstrations were trained on, and their likelihood under the policy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from torch import Tensor

from hpt_core.config import TrainConfig
from hpt_core.gate import IMITATED
from hpt_core.policy.batching import Padded, row_logp
from hpt_core.policy.logprobs import TokenLogprobs, autocast
from hpt_core.policy.module import PolicyModule
from hpt_core.rollout.group import Task
from hpt_core.seeds import derive
from hpt_core.tables import GateRow, SourceStatistics
from hpt_core.trainer.batch import demonstration

SAMPLE = 16
"""Number of demonstrations of a source whose NLL is measured."""


def summarise(gate: Iterable[GateRow], metrics: Sequence[Mapping[str, float]]) -> dict[str, SourceStatistics]:
    """Statistics of each source, from the rows of `tables.GATE` of a whole run, in order, and its metrics."""
    by_source: defaultdict[str, list[GateRow]] = defaultdict(list)
    for row in gate:
        if row["source"] is not None:
            by_source[row["source"]].append(row)
    total = sum(row["trained"] for rows in by_source.values() for row in rows)
    return {source: _statistics(source, rows, total, metrics) for source, rows in sorted(by_source.items())}


def _statistics(
    source: str, rows: Sequence[GateRow], total: int, metrics: Sequence[Mapping[str, float]]
) -> SourceStatistics:
    """Statistics of one source from its rows; total: how often any demonstration was trained on."""
    last = {row["prompt_id"]: row for row in rows}
    first = {row["prompt_id"]: row for row in reversed(rows)}
    sft = sum(row["trained"] for row in rows)
    return {
        "kind": rows[0]["kind"],
        "prompts": len(first),
        "decisions": len(rows),
        "sft": sft,
        "sft_share": sft / total if total else None,
        "sft_first": _imitated(first.values()),
        "sft_last": _imitated(last.values()),
        "solved_first": _solved(first.values()),
        "solved_last": _solved(last.values()),
        "nll_before": metrics[0].get(f"source/{source}/nll_before"),
        "nll_after": metrics[-1].get(f"source/{source}/nll_after"),
    }


def _imitated(rows: Iterable[GateRow]) -> float:
    return fmean(row["route"] in IMITATED for row in rows)


def _solved(rows: Iterable[GateRow]) -> float | None:
    rates = [row["pass_rate"] for row in rows if row["pass_rate"] is not None]
    return fmean(rates) if rates else None


def nll_by_source(
    policy_module: PolicyModule, tasks: Sequence[Task], config: TrainConfig, seed: int
) -> dict[str, float]:
    """source -> NLL in nats per token, of at most SAMPLE of its demonstrations, the same for every policy.

    Every rank of a sharded policy calls this with all tasks.
    """
    nll: dict[str, float] = {}
    for source, source_tasks in sorted(_by_source(tasks).items()):
        drawn = sorted(source_tasks, key=lambda task: derive(seed, "nll", task.prompt.prompt_id))[:SAMPLE]
        nll[source] = nll_per_token(policy_module, drawn, config)
    return nll


def nll_per_token(policy_module: PolicyModule, tasks: Sequence[Task], config: TrainConfig) -> float:
    """NLL in nats per token of the demonstrations of all `tasks`. All ranks of a sharded policy call this."""
    policy_module.eval()

    def logp(batch: Padded) -> Tensor:
        with autocast(policy_module.device, config.autocast):
            outputs: TokenLogprobs = policy_module(batch, 1.0)
        return outputs.logp

    rows = [demonstration(task, number) for number, task in enumerate(tasks)]
    row_logps = row_logp(rows, config.microbatch_tokens, policy_module.device, logp)
    return -sum(row_logps) / sum(len(row.response) for row in rows)


def _by_source(tasks: Sequence[Task]) -> dict[str, list[Task]]:
    by_source: defaultdict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        if task.expert is not None:
            by_source[task.expert.source].append(task)
    return by_source
