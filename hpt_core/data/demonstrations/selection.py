"""The selection of the demonstration that an arm uses for a prompt, by the arm's mix and choice.

An entry of a mix is an expert kind or `source/NAME`, with a weight. A trajectory belongs to the entry of its
source or, without one, to that of its kind; a weight of 0 leaves it out.

    choice      entry of the mix              trajectory within it
    shortest    a draw by weight              fewest tokens, then lowest trajectory_id
    random      the same draw                 a draw by the weights of the sources, then one of the source
    likeliest   the same draw                 highest mean log-probability under the starting policy
    preferred   the highest weight            as shortest

Only entries of which the prompt has a trajectory take part. Each draw depends on seed and prompt alone, so
that arms differ by their mix and choice only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from hpt_core.config import Choice
from hpt_core.config.data import SOURCE
from hpt_core.errors import InputError
from hpt_core.seeds import derive
from hpt_core.types import Trajectory


def choose(
    trajectories: Sequence[Trajectory], mix: Mapping[str, float], seed: int, choice: Choice = "shortest"
) -> Trajectory | None:
    """The demonstration among the `trajectories` of one prompt; None if the mix includes none of them.

    Raises InputError if the choice needs a value that the stage `experts` did not compute.
    """
    if not trajectories:
        return None
    prompts = {trajectory.prompt_id for trajectory in trajectories}
    assert len(prompts) == 1, f"trajectories of several prompts: {sorted(prompts)}"
    by_entry: defaultdict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        if (entry := entry_of(mix, trajectory.kind, trajectory.source)) is not None:
            by_entry[entry].append(trajectory)
    if not by_entry:
        return None
    rule, [prompt] = CHOICES[choice], prompts
    entry = rule.entry({name: mix[name] for name in sorted(by_entry)}, seed, prompt)
    return rule.trajectory(by_entry[entry], seed)


def may_have_expert(prompt_id: str, coverage: float, seed: int) -> bool:
    """Whether a prompt is of the share that is drawn; a larger share has the same prompts and more."""
    return derive(seed, "coverage", prompt_id) / 2**63 < coverage


def entry_of(mix: Mapping[str, float], kind: str, source: str) -> str | None:
    """The entry of `mix` for trajectories of this kind and source; None if the mix leaves them out."""
    name = f"{SOURCE}{source}" if f"{SOURCE}{source}" in mix else kind
    return name if mix.get(name, 0.0) > 0 else None


def _drawn(weights: Mapping[str, float], seed: int, *about: str) -> str:
    """A name drawn in proportion to its weight, from `weights` in the order of the names."""
    point = derive(seed, *about) / 2**63 * sum(weights.values())
    for name, weight in weights.items():
        if point < weight:
            return name
        point -= weight
    return list(weights)[-1]


def _by_weight(weights: Mapping[str, float], seed: int, prompt_id: str) -> str:
    # The number drawn is the same for every arm, so that arms differ by their mix alone.
    return _drawn(weights, seed, "provenance", prompt_id)


def _heaviest(weights: Mapping[str, float], seed: int, prompt_id: str) -> str:
    return max(weights, key=lambda name: weights[name])


def _shortest(trajectories: Sequence[Trajectory], seed: int) -> Trajectory:
    return min(trajectories, key=lambda t: (t.n_tokens, t.trajectory_id))


def _random(trajectories: Sequence[Trajectory], seed: int) -> Trajectory:
    # The source is drawn first, so that many responses to a prompt give a source no advantage.
    weights = {t.source: t.weight for t in sorted(trajectories, key=lambda t: t.source)}
    source = _drawn(weights, seed, "source", trajectories[0].prompt_id)
    candidates = (t for t in trajectories if t.source == source)
    return min(candidates, key=lambda t: derive(seed, "trajectory", t.trajectory_id))


def _likeliest(trajectories: Sequence[Trajectory], seed: int) -> Trajectory:
    def rank(trajectory: Trajectory) -> tuple[float, int, str]:
        if trajectory.base_logp is None:
            raise InputError(
                f"trajectory {trajectory.trajectory_id} of source {trajectory.source!r} has no base_logp, by "
                "which an arm chooses: set experts.base_logp: true in params.yaml and run the stage experts"
            )
        return -trajectory.base_logp, trajectory.n_tokens, trajectory.trajectory_id

    return min(trajectories, key=rank)


class ChoiceRule(NamedTuple):
    """How a choice selects an entry of the mix, and then a trajectory of that entry."""

    entry: Callable[[Mapping[str, float], int, str], str]
    """(entry -> weight, in the order of the names; seed; prompt_id) -> entry."""
    trajectory: Callable[[Sequence[Trajectory], int], Trajectory]
    """(trajectories of that entry; seed) -> trajectory."""


CHOICES: dict[Choice, ChoiceRule] = {
    "shortest": ChoiceRule(_by_weight, _shortest),
    "preferred": ChoiceRule(_heaviest, _shortest),
    "random": ChoiceRule(_by_weight, _random),
    "likeliest": ChoiceRule(_by_weight, _likeliest),
}
