"""The distance of each source's trajectories from the starting policy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from hpt_core import tables
from hpt_core.policy.distance import distances, summary
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.sizes import positions
from hpt_core.seeds import derive
from hpt_core.types import Prompt, Trajectory
from pipelines.stage.base_logp import expert_rows

GRADIENTS = 16
"""Trajectories of a source whose gradient is measured, one backward pass each."""


def distance_by_source(
    policy: LoadedPolicy,
    trajectories: Sequence[Trajectory],
    prompts: Sequence[Prompt],
    rollouts: Path,
    count: int,
    seed: int,
) -> dict[str, dict[str, float | int]]:
    """source -> means over at most `count` of its trajectories, drawn by seed, the same for every policy.

    Trajectories beyond the policy's positions are left out, and so is a source that has no other.
    `rollouts` is the file of the policy's own responses to these prompts.
    """
    by_source: defaultdict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in sorted(trajectories, key=lambda t: derive(seed, "distance", t.trajectory_id)):
        if len(by_source[trajectory.source]) < count:
            by_source[trajectory.source].append(trajectory)
    own: defaultdict[str, list[list[int]]] = defaultdict(list)
    for row in tables.read(rollouts, columns=["prompt_id", "token_ids"]):
        own[row["prompt_id"]].append(row["token_ids"])
    limit = positions(policy.model) or float("inf")
    found: dict[str, dict[str, float | int]] = {}
    for source, drawn in sorted(by_source.items()):
        rows = [row for row in expert_rows(policy, drawn, prompts) if row.length <= limit]
        if rows:
            found[source] = summary(distances(policy.model, rows, own, gradients=GRADIENTS))
    return found
