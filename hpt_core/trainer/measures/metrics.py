"""The metrics of a step, and the sums over tokens that they are made of."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import get_args

import torch
from torch import Tensor

from hpt_core.config import OverlongConfig
from hpt_core.gate import IMITATED, Route
from hpt_core.policy.batching import TrainingRow
from hpt_core.rollout.group import Group
from hpt_core.tables import GateRow
from hpt_core.types import Tokens
from hpt_core.upge.advantage import overlong_share
from hpt_core.upge.regularise import RegulariserInputs, k3


def step_metrics(groups: Sequence[Group], gate_rows: Sequence[GateRow], totals: Totals) -> dict[str, float]:
    """Metrics of one step; metrics without data are omitted. `gate_rows` are rows of `tables.GATE`."""
    metrics = {**_of_groups(groups, gate_rows), **_of_totals(totals, gate_rows)}
    return {name: float(value) for name, value in metrics.items() if value is not None}


def overlong_metrics(
    groups: Sequence[Group], config: OverlongConfig | None, longest: int
) -> dict[str, float]:
    """Mean penalty of the rollouts for their length, and the share that has one; `longest` in tokens."""
    if config is None:
        return {}
    lengths = [len(rollout.completion.token_ids) for group in groups for rollout in group.rollouts]
    shares = overlong_share(torch.tensor(lengths), longest, config.buffer).tolist()
    return {
        "overlong/penalty": config.penalty * fmean(shares),
        "overlong/share": fmean(share > 0 for share in shares),
    }


def verifier_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Numbers of rollouts without a verdict and, where there are any, of those over the verifier's limits."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    over_limit = sum(rollout.over_limit for rollout in rollouts)
    return {
        "verifier/unjudged": float(sum(rollout.reward is None for rollout in rollouts)),
        **({"verifier/timeouts": float(over_limit)} if over_limit else {}),
    }


def _of_groups(groups: Sequence[Group], gate_rows: Sequence[GateRow]) -> dict[str, float]:
    routes = Counter(row["route"] for row in gate_rows)
    kinds = Counter(row["kind"] for row in gate_rows if row["route"] in IMITATED)
    hints = [group.task.hint for group in groups]
    return {
        **(_of_rollouts(groups) if any(group.rollouts for group in groups) else {}),
        **{f"gate/{name}": routes[name] for name in get_args(Route) if name != "none" or routes[name]},
        **{f"gate/sft_{kind}": count for kind, count in sorted(kinds.items())},
        **({"hint/tokens": fmean(hints)} if any(hints) else {}),
    }


def _of_rollouts(groups: Sequence[Group]) -> dict[str, float]:
    rewards = [reward for group in groups for reward in group.rewards]
    completions = [rollout.completion for group in groups for rollout in group.rollouts]
    rates = [group.pass_rate for group in groups]
    return {
        "reward/mean": fmean(rewards),
        "reward/std": pstdev(rewards),
        "solve/none": fmean(rate == 0 for rate in rates),
        "solve/some": fmean(0 < rate < 1 for rate in rates),
        "solve/all": fmean(rate == 1 for rate in rates),
        "response/length": fmean(len(completion.token_ids) for completion in completions),
        "response/truncated": fmean(completion.finish_reason == "length" for completion in completions),
    }


def _of_totals(totals: Totals, gate_rows: Sequence[GateRow]) -> dict[str, float | None]:
    return {
        "offline_share": totals.mean("rows_expert", "rows_trained"),
        **_of_demonstrations(totals, gate_rows),
        "ratio/mean": totals.mean("ratio", "tokens_rollout"),
        "ratio/clipped": totals.mean("tokens_clipped", "tokens"),
        "importance/masked": totals.mean("tokens_masked", "tokens_maskable"),
        "sequence_mask/masked": totals.mean("rows_masked", "rows_maskable"),
        "kl/old": totals.mean("kl_old", "tokens_rollout"),
        "kl/reference": totals.mean("kl_reference", "tokens_referred"),
        "value/error": totals.mean("value_error", "tokens_valued"),
        "entropy": totals.mean("entropy", "tokens_rollout"),
        "grad_norm": totals.mean("grad_norm", "updates"),
        "clipped": totals["updates_clipped"],
        "skipped": totals["updates_skipped"],
        "empty": totals["updates_empty"] or None,
    }


def _of_demonstrations(totals: Totals, gate_rows: Sequence[GateRow]) -> dict[str, float | None]:
    """nll/KIND, and for each source the number of its demonstrations that were trained on and their NLL."""
    trained = Counter(row["source"] for row in gate_rows if row["trained"])
    metrics: dict[str, float | None] = {}
    for name in sorted(key.removeprefix("nll/") for key in totals.sums if key.startswith("nll/")):
        nll = totals.mean(f"nll/{name}", f"tokens/{name}")
        if name.startswith("source/"):
            count = trained[name.removeprefix("source/")]
            metrics |= {f"{name}/sft": count, f"{name}/nll": nll}
        else:
            metrics[f"nll/{name}"] = nll
    return metrics


class Totals:
    """Named sums over ranks and mini-batches; 0 for a name that was never added."""

    def __init__(self) -> None:
        self.sums: defaultdict[str, float] = defaultdict(float)

    def __getitem__(self, name: str) -> float:
        return self.sums.get(name, 0.0)

    def add(self, sums: Mapping[str, float]) -> None:
        for name, value in sums.items():
            self.sums[name] += value

    def mean(self, name: str, over: str) -> float | None:
        """The ratio of two sums; None if the second is 0."""
        return self[name] / self[over] if self[over] else None


@torch.no_grad()
def observe(
    tokens: Tokens, members: Sequence[TrainingRow], clipped: Tensor, inputs: RegulariserInputs
) -> dict[str, float]:
    """The sums of one micro-batch of the rows `members`; `clipped` [B, T] bool."""
    assert tokens.entropy is not None
    rollout = tokens.mask & ~tokens.expert[:, None]
    log_ratio = (tokens.logp - tokens.logp_old)[rollout]
    sums = {
        "tokens": int(tokens.mask.sum()),
        "tokens_rollout": int(rollout.sum()),
        "tokens_clipped": int(clipped.sum()),
        "ratio": float(log_ratio.exp().sum()),
        # KL(pi_old || pi_theta), since pi_old drew the tokens.
        "kl_old": float(k3(-log_ratio).sum()),
        "entropy": float(tokens.entropy[rollout].sum()),
    }
    if inputs.logp_reference is not None:
        sums["kl_reference"] = float(k3((tokens.logp - inputs.logp_reference)[rollout]).sum())
        sums["tokens_referred"] = sums["tokens_rollout"]
    if inputs.returns is not None:
        sums["value_error"] = float(inputs.value_error(clip=None)[rollout].sum())
        sums["tokens_valued"] = sums["tokens_rollout"]
    by_kind = Totals()
    nll = -(tokens.logp * tokens.mask).sum(1)
    for row, value in zip(members, nll.tolist(), strict=True):
        if row.kind is not None:
            for name in (row.kind, f"source/{row.source}"):
                by_kind.add({f"nll/{name}": value, f"tokens/{name}": len(row.response)})
    return {**sums, **by_kind.sums}
