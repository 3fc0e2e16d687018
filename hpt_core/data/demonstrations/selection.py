"""Which expert an arm learns a prompt from: its mix, and its choice among several trajectories.

An entry of a mix is an expert kind or `source/NAME`, with a weight. A trajectory belongs to its source's
entry, or else to its kind's; a weight of 0 leaves it out.

    choice      entry of the mix              trajectory within it
    shortest    a draw by weight              fewest tokens, then lowest trajectory_id
    random      the same draw                 a draw by the sources' own weights, then one of the source's
    likeliest   the same draw                 highest mean log-probability under the starting policy
    preferred   highest weight of those here  as shortest

Each draw depends on seed and prompt alone, so that arms differ by their mix and choice only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from hpt_core.config import Choice
from hpt_core.errors import InputError
from hpt_core.seeds import derive
from hpt_core.types import Trajectory

SOURCE = "source/"
"""Before the name of a source in a mix. No colon: DVC's YAML takes none in {braces}."""


def choose(
    trajectories: Sequence[Trajectory], mix: Mapping[str, float], seed: int, choice: Choice = "shortest"
) -> Trajectory | None:
    """The expert of one prompt, whose trajectories these are; None where the mix offers none.

    Raises InputError where the choice needs what the experts stage did not compute.
    """
    if not trajectories:
        return None
    prompts = {trajectory.prompt_id for trajectory in trajectories}
    assert len(prompts) == 1, f"trajectories of several prompts: {sorted(prompts)}"
    offered: defaultdict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        if (entry := entry_of(mix, trajectory.kind, trajectory.source)) is not None:
            offered[entry].append(trajectory)
    if not offered:
        return None
    rule, [prompt] = CHOICES[choice], prompts
    entry = rule.entry({name: mix[name] for name in sorted(offered)}, seed, prompt)
    return rule.trajectory(offered[entry], seed)


def entry_of(mix: Mapping[str, float], kind: str, source: str) -> str | None:
    """The entry of `mix` that trajectories of this kind and source belong to; None for those left out."""
    name = f"{SOURCE}{source}" if f"{SOURCE}{source}" in mix else kind
    return name if mix.get(name, 0.0) > 0 else None


def _drawn(weights: Mapping[str, float], seed: int, *about: str) -> str:
    """A name, drawn in proportion to its weight; `weights` are in the order of the names."""
    point = derive(seed, *about) / 2**63 * sum(weights.values())
    for name, weight in weights.items():
        if point < weight:
            return name
        point -= weight
    return list(weights)[-1]


def _by_weight(weights: Mapping[str, float], seed: int, prompt_id: str) -> str:
    # In [0, 1): the same number for every arm, so that arms differ by their mix alone.
    return _drawn(weights, seed, "provenance", prompt_id)


def _heaviest(weights: Mapping[str, float], seed: int, prompt_id: str) -> str:
    return max(weights, key=lambda name: weights[name])


def _shortest(trajectories: Sequence[Trajectory], seed: int) -> Trajectory:
    return min(trajectories, key=lambda t: (t.n_tokens, t.trajectory_id))


def _random(trajectories: Sequence[Trajectory], seed: int) -> Trajectory:
    # The source first: one with many responses to a prompt gets no more of the draws for that.
    weights = {t.source: t.weight for t in sorted(trajectories, key=lambda t: t.source)}
    source = _drawn(weights, seed, "source", trajectories[0].prompt_id)
    given = (t for t in trajectories if t.source == source)
    return min(given, key=lambda t: derive(seed, "trajectory", t.trajectory_id))


def _likeliest(trajectories: Sequence[Trajectory], seed: int) -> Trajectory:
    def key(trajectory: Trajectory) -> tuple[float, int, str]:
        if trajectory.base_logp is None:
            raise InputError(
                f"trajectory {trajectory.trajectory_id} of source {trajectory.source!r} has no base_logp, by "
                "which an arm chooses: set experts.base_logp: true in params.yaml and run the stage experts"
            )
        return -trajectory.base_logp, trajectory.n_tokens, trajectory.trajectory_id

    return min(trajectories, key=key)


class Rule(NamedTuple):
    entry: Callable[[Mapping[str, float], int, str], str]
    """Of (entries that the prompt has -> weight, in the order of their names; seed; prompt_id)."""
    trajectory: Callable[[Sequence[Trajectory], int], Trajectory]
    """Of (trajectories of that entry; seed)."""


CHOICES: dict[Choice, Rule] = {
    "shortest": Rule(_by_weight, _shortest),
    "preferred": Rule(_heaviest, _shortest),
    "random": Rule(_by_weight, _random),
    "likeliest": Rule(_by_weight, _likeliest),
}
