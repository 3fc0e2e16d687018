"""The NLL of solutions that a policy was not trained on, and of what its base wrote itself.

They are of training prompts that `coverage` leaves without a demonstration and of which every source has a
solution, so that all kinds are of the same problems. No method imitates anything for these prompts; methods
that sample may sample them.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pyarrow.compute as pc

from hpt_core import tables
from hpt_core.data.demonstrations.selection import may_have_expert
from hpt_core.errors import InputError
from hpt_core.policy.batching import TrainingRow
from hpt_core.policy.chat import Chat
from hpt_core.policy.distance import distances
from hpt_core.policy.model import load_policy
from hpt_core.seeds import derive
from hpt_core.types import Trajectory
from pipelines import paths
from pipelines.lab.cells import Cell
from pipelines.lab.design import StudyDesign
from pipelines.stage.base_logp import expert_rows

OWN = "own rollouts"
"""The name of the base's responses beside the sources: their NLL says how much is forgotten."""


def held_out_nll(cell: Cell, policy: str, setting: Path, design: StudyDesign) -> dict[str, float]:
    """Source -> NLL in nats per token under the policy in the current folder; also of the base's rollouts.

    Raises InputError where no prompt is left for it.
    """
    seed, arm = cell.setting_tree["seed"], cell.setting_tree["arms"][design.arm]
    right = [t for t in tables.read_experts(setting / paths.EXPERTS) if t.verified]
    by_prompt: defaultdict[str, dict[str, Trajectory]] = defaultdict(dict)
    for trajectory in right:
        by_prompt[trajectory.prompt_id].setdefault(trajectory.source, trajectory)
    sources = {t.source for t in right}
    held_out = [
        name
        for name, of in by_prompt.items()
        if of.keys() == sources and not may_have_expert(name, arm.get("coverage", 1.0), seed)
    ]
    held_out = sorted(held_out, key=lambda name: derive(seed, "likelihood", name))[: design.likelihood]
    if not held_out:
        raise InputError(
            "likelihood: every prompt that all sources have a solution of may have a demonstration; lower "
            f"arms.{design.arm}.coverage in the study"
        )
    loaded = load_policy(paths.model(policy))
    prompts = tables.read_prompts(paths.TRAIN_PROMPTS)
    rows = {
        s: expert_rows(loaded, [by_prompt[name][s] for name in held_out], prompts) for s in sorted(sources)
    }
    chat, problems = Chat(loaded.tokenizer), {prompt.prompt_id: prompt.problem for prompt in prompts}
    own = tables.read(setting / paths.BASE_ROLLOUTS, filters=pc.field("sample") == 0)
    responses = {row["prompt_id"]: row["token_ids"] for row in own}
    rows[OWN] = [
        TrainingRow(name, chat.prompt(problems[name]), responses[name], (), 1.0, number, None)
        for number, name in enumerate(held_out)
        if name in responses
    ]
    found = {}
    for source, of_source in rows.items():
        measured = distances(loaded.model, of_source, {})
        found[source] = sum(one.nll for one in measured) / sum(one.tokens for one in measured)
    return found
