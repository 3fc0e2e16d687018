"""Which expert an arm learns a prompt from: its provenance mix, drawn once per prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpt_core.seeds import derive
from hpt_core.types import Trajectory


def choose(trajectories: Sequence[Trajectory], mix: Mapping[str, float], seed: int) -> Trajectory | None:
    """The expert of one prompt, whose trajectories these are; None where the mix offers none.

    Among the kinds that the prompt has, a draw in proportion to their weights that depends on seed
    and prompt alone; within the kind the shortest in tokens, then the lowest trajectory_id.
    """
    if not trajectories:
        return None
    prompts = {trajectory.prompt_id for trajectory in trajectories}
    assert len(prompts) == 1, f"trajectories of several prompts: {sorted(prompts)}"
    kinds = sorted({t.kind for t in trajectories if mix.get(t.kind, 0.0) > 0})
    if not kinds:
        return None
    # In [0, 1): the same number for every arm, so that arms differ by their mix alone.
    point = derive(seed, "provenance", *prompts) / 2**63 * sum(mix[kind] for kind in kinds)
    chosen = kinds[-1]
    for kind in kinds:
        if point < mix[kind]:
            chosen = kind
            break
        point -= mix[kind]
    of_kind = (trajectory for trajectory in trajectories if trajectory.kind == chosen)
    return min(of_kind, key=lambda t: (t.n_tokens, t.trajectory_id))
