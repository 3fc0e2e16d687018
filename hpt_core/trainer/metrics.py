"""What a step reports, under the names that this field uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, pstdev

from hpt_core.gate import Route
from hpt_core.rollout.group import Group
from hpt_core.trainer.step import Totals


def step_metrics(groups: Sequence[Group], routes: Sequence[Route], totals: Totals) -> dict[str, float]:
    """Metrics of one step; a mean over nothing is left out rather than invented."""
    rewards = [reward for group in groups for reward in group.rewards]
    done = [rollout.completion for group in groups for rollout in group.rollouts]
    rates = [group.pass_rate for group in groups]
    decisions = Counter(routes)
    kinds = Counter(
        group.task.expert.kind
        for group, route in zip(groups, routes, strict=True)
        if route == "sft" and group.task.expert
    )
    metrics: dict[str, float | None] = {
        "reward/mean": fmean(rewards),
        "reward/std": pstdev(rewards),
        "solve/none": fmean(rate == 0 for rate in rates),
        "solve/some": fmean(0 < rate < 1 for rate in rates),
        "solve/all": fmean(rate == 1 for rate in rates),
        **{f"gate/{route}": decisions[route] for route in ("sft", "rl", "equal", "no_expert")},
        **{f"gate/sft_{kind}": count for kind, count in sorted(kinds.items())},
        "offline_share": totals.mean("rows_expert", "rows_trained"),
        **{
            name: totals.mean(name, f"tokens/{name.removeprefix('nll/')}")
            for name in sorted(totals.sums)
            if name.startswith("nll/")
        },
        "ratio/mean": totals.mean("ratio", "tokens_rollout"),
        "entropy": totals.mean("entropy", "tokens_rollout"),
        "grad_norm": totals.mean("grad_norm", "updates"),
        "clipped": totals["updates_clipped"],
        "skipped": totals["updates_skipped"],
        "response/length": fmean(len(completion.token_ids) for completion in done),
        "response/truncated": fmean(completion.finish_reason == "length" for completion in done),
    }
    return {name: float(value) for name, value in metrics.items() if value is not None}
