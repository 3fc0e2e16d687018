"""The demonstrations of an arm: which prompts, how many of each, which length, and how many are wrong.

    1. coverage, shared    the prompts that may have a demonstration
    2. mix, choose         the demonstrations of each, at most `per_prompt` (selection.py)
    3. match_length        the longest are left out
    4. max_*               a part is drawn
    5. wrong_share         some are replaced by wrong ones

Each draw depends on seed and prompt alone, so that arms that differ in one key differ in nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from hpt_core.config import ArmConfig
from hpt_core.config.data import WRONG
from hpt_core.data.demonstrations.selection import choose, entry_of, may_have_expert
from hpt_core.errors import InputError
from hpt_core.seeds import derive
from hpt_core.types import Trajectory

OfPrompts = Mapping[str, Sequence[Trajectory]]


def select(
    prompts: Sequence[str], experts: Iterable[Trajectory], arm: ArmConfig, seed: int
) -> list[Trajectory]:
    """The demonstrations of `arm` for these prompts, in their order.

    Raises InputError if no length matches, if fewer prompts than `wrong_share` needs have a wrong trajectory,
    or if the choice needs a value that the stage `experts` did not compute.
    """
    right, wrong = defaultdict[str, list[Trajectory]](list), defaultdict[str, list[Trajectory]](list)
    for trajectory in experts:
        (right if trajectory.verified else wrong)[trajectory.prompt_id].append(trajectory)
    covered = [
        name
        for name in prompts
        if may_have_expert(name, arm.coverage, seed)
        and all(_of_entry(right[name], entry) for entry in arm.shared)
    ]
    chosen = [t for name in covered for t in several(right[name], arm, arm.mix, seed)]
    if arm.match_length is not None:
        own = [t for name in covered for t in several(right[name], arm, {arm.match_length: 1.0}, seed)]
        chosen = no_longer(chosen, own)
    chosen = _limited(chosen, arm, seed)
    return _with_wrong(chosen, wrong, arm, seed)


def several(
    trajectories: Sequence[Trajectory], arm: ArmConfig, mix: Mapping[str, float], seed: int
) -> list[Trajectory]:
    """The demonstrations of one prompt: the arm's choice, then its choice among those that are left."""
    chosen: list[Trajectory] = []
    while len(chosen) < arm.per_prompt:
        left = [t for t in trajectories if t not in chosen]
        following = choose(left, mix, seed, arm.choose)
        if following is None:
            break
        chosen.append(following)
    return chosen


def no_longer(chosen: Sequence[Trajectory], own: Sequence[Trajectory]) -> list[Trajectory]:
    """`chosen` without its longest, as many as it takes until the mean length is not above that of `own`.

    Raises InputError where the shortest is longer than that mean.
    """
    left = sorted(chosen, key=lambda t: (t.n_tokens, t.trajectory_id))
    limit = fmean(t.n_tokens for t in own) if own else 0.0
    while left and fmean(t.n_tokens for t in left) > limit:
        left.pop()
    if chosen and not left:
        shortest = min(t.n_tokens for t in chosen)
        raise InputError(
            f"match_length: the shortest demonstration has {shortest} tokens, and those to match have "
            f"{limit:.1f} in the mean; drop match_length"
        )
    names = {t.trajectory_id for t in left}
    return [t for t in chosen if t.trajectory_id in names]


def _limited(chosen: Sequence[Trajectory], arm: ArmConfig, seed: int) -> list[Trajectory]:
    """At most the arm's numbers of demonstrations and tokens. A larger limit has the same and more."""
    kept, tokens = set[str](), 0
    for t in _drawn(chosen, seed, "limit"):
        tokens += t.n_tokens
        if len(kept) == arm.max_demonstrations or (arm.max_tokens is not None and tokens > arm.max_tokens):
            break
        kept.add(t.trajectory_id)
    return [t for t in chosen if t.trajectory_id in kept]


def _with_wrong(
    chosen: Sequence[Trajectory], wrong: OfPrompts, arm: ArmConfig, seed: int
) -> list[Trajectory]:
    """`chosen` with a share of it replaced. A larger share has the same wrong ones and more."""
    count, replaced = round(arm.wrong_share * len(chosen)), dict[str, Trajectory]()
    taken: set[str] = set()
    for t in _drawn(chosen, seed, "wrong"):
        if len(replaced) == count:
            break
        left = [each for each in wrong.get(t.prompt_id, ()) if each.trajectory_id not in taken]
        if (mistaken := _choose_wrong(left, arm, seed)) is not None:
            replaced[t.trajectory_id] = mistaken
            taken.add(mistaken.trajectory_id)
    if len(replaced) < count:
        raise InputError(
            f"wrong_share {arm.wrong_share} of {len(chosen)} demonstrations is {count}, and the mix has "
            f"{len(replaced)} wrong trajectories of their prompts; lower it, or set experts.wrong: true and "
            "run the stage experts"
        )
    return [replaced.get(t.trajectory_id, t) for t in chosen]


def _choose_wrong(trajectories: Sequence[Trajectory], arm: ArmConfig, seed: int) -> Trajectory | None:
    """The arm's choice among wrong trajectories, whose sources go by their names without the mark."""
    by_id = {t.trajectory_id: t for t in trajectories}
    plain = [replace(t, source=t.source.removesuffix(WRONG)) for t in trajectories]
    mistaken = choose(plain, arm.mix, seed, arm.choose)
    return None if mistaken is None else by_id[mistaken.trajectory_id]


def _drawn(chosen: Sequence[Trajectory], seed: int, about: str) -> list[Trajectory]:
    """In an order that is drawn by prompt; of one prompt, in their own."""
    return sorted(chosen, key=lambda t: derive(seed, about, t.prompt_id))


def _of_entry(trajectories: Iterable[Trajectory], entry: str) -> bool:
    return any(entry_of({entry: 1.0}, t.kind, t.source) for t in trajectories)
