"""What became of each source's demonstrations: how often taken, and what the policy made of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from torch import Tensor

from hpt_core.config import TrainConfig
from hpt_core.gate import IMITATED
from hpt_core.policy.batching import Padded, row_logp
from hpt_core.policy.logprobs import TokenLogprobs, autocast
from hpt_core.policy.module import PolicyModule
from hpt_core.rollout.group import Task
from hpt_core.seeds import derive
from hpt_core.trainer.batch import demonstration

SAMPLE = 16
"""Demonstrations of a source whose NLL is taken."""


def summarise(
    gate: Iterable[Mapping[str, Any]], metrics: Sequence[Mapping[str, float]]
) -> dict[str, dict[str, Any]]:
    """source -> what the gate's decisions (rows of `data.tables.GATE`, in order) say of it.

    Of the prompts whose expert is of the source: prompts; decisions; sft, how often a demonstration was
    trained on; sft_share, of all sources'; sft_first and sft_last, the share of a prompt's first and last
    decisions that took it (a buffer, as ReLIFT's, takes it later); solved_first and solved_last, its pass
    rate then (null without rollouts).
    nll_before and nll_after are of the `metrics` of the first and the last step.
    """
    of_source: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in gate:
        if row["source"] is not None:
            of_source[row["source"]].append(row)
    sft = {source: sum(row.get(f"source/{source}/sft", 0.0) for row in metrics) for source in of_source}
    return {
        source: {
            "kind": rows[0]["kind"],
            "sft": round(sft[source]),
            "sft_share": sft[source] / total if (total := sum(sft.values())) else None,
            **_decisions(rows),
            "nll_before": metrics[0].get(f"source/{source}/nll_before"),
            "nll_after": metrics[-1].get(f"source/{source}/nll_after"),
        }
        for source, rows in sorted(of_source.items())
    }


def _decisions(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    last = {row["prompt_id"]: row for row in rows}
    first = {row["prompt_id"]: row for row in reversed(rows)}
    return {
        "prompts": len(first),
        "decisions": len(rows),
        "sft_first": _share(first.values()),
        "sft_last": _share(last.values()),
        "solved_first": _solved(first.values()),
        "solved_last": _solved(last.values()),
    }


def _share(rows: Iterable[Mapping[str, Any]]) -> float:
    return fmean(row["route"] in IMITATED for row in rows)


def _solved(rows: Iterable[Mapping[str, Any]]) -> float | None:
    rates = [row["pass_rate"] for row in rows if row["pass_rate"] is not None]
    return fmean(rates) if rates else None


def nll_by_source(
    policy_module: PolicyModule, tasks: Sequence[Task], config: TrainConfig, seed: int
) -> dict[str, float]:
    """source -> nats per token of its demonstrations, of at most SAMPLE of them, the same for every policy.

    Every rank of a sharded policy calls this with all tasks.
    """
    policy_module.eval()

    def logp(batch: Padded) -> Tensor:
        with autocast(policy_module.device, config.autocast):
            said: TokenLogprobs = policy_module(batch, 1.0)
        return said.logp

    found: dict[str, float] = {}
    for source, given in sorted(_by_source(tasks).items()):
        drawn = sorted(given, key=lambda task: derive(seed, "nll", task.prompt.prompt_id))[:SAMPLE]
        rows = [demonstration(task, number) for number, task in enumerate(drawn)]
        told = row_logp(rows, config.microbatch_tokens, policy_module.device, logp)
        found[source] = -sum(told) / sum(len(row.response) for row in rows)
    return found


def _by_source(tasks: Sequence[Task]) -> dict[str, list[Task]]:
    of_source: defaultdict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        if task.expert is not None:
            of_source[task.expert.source].append(task)
    return of_source
