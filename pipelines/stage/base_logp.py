"""How likely trajectories are under the starting policy, for arms that choose by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from hpt_core.errors import InputError
from hpt_core.policy.batching import Padded, TrainingRow, row_logp
from hpt_core.policy.chat import Chat
from hpt_core.policy.logprobs import token_logprobs
from hpt_core.policy.model import LoadedPolicy
from hpt_core.types import Prompt, Trajectory

MICROBATCH_TOKENS = 16384
"""Bound on rows x padded length of one forward pass."""


def with_base_logp(
    policy: LoadedPolicy, trajectories: Sequence[Trajectory], prompts: Sequence[Prompt]
) -> list[Trajectory]:
    """Each with `base_logp`, at temperature 1 and after the prompt as the policy is asked it.

    Raises InputError where the model has no positions for one of them.
    """
    chat = Chat(policy.tokenizer)
    asked = {prompt.prompt_id: prompt.problem for prompt in prompts}
    tokens = {name: chat.prompt(asked[name]) for name in sorted({t.prompt_id for t in trajectories})}
    rows = [
        TrainingRow(t.prompt_id, tokens[t.prompt_id], chat.response(t.response), (), 1.0, number, t.kind)
        for number, t in enumerate(trajectories)
    ]
    room: int = policy.model.config.max_position_embeddings
    if (longest := max((row.length for row in rows), default=0)) > room:
        raise InputError(
            f"experts.base_logp: a prompt with its trajectory has {longest} tokens, and the model has {room} "
            "positions; lower experts.max_tokens in params.yaml"
        )

    def logp(batch: Padded) -> Tensor:
        return token_logprobs(policy.model, batch, 1.0).logp

    told = row_logp(rows, MICROBATCH_TOKENS, policy.model.device, logp)
    return [
        replace(trajectory, base_logp=total / len(row.response))
        for trajectory, row, total in zip(trajectories, rows, told, strict=True)
    ]
