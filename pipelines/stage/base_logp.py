"""Log-probabilities of trajectories under the starting policy, for arms that choose by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from hpt_core.policy.batching import Padded, TrainingRow, row_logp
from hpt_core.policy.chat import Chat
from hpt_core.policy.logprobs import token_logprobs
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.sizes import check_positions
from hpt_core.types import Prompt, Trajectory

MICROBATCH_TOKENS = 16384
"""Bound on rows x padded length of one forward pass."""


def with_base_logp(
    policy: LoadedPolicy, trajectories: Sequence[Trajectory], prompts: Sequence[Prompt]
) -> list[Trajectory]:
    """Set `base_logp`, the mean log-probability of a response token after the prompt, at temperature 1.

    Raises InputError where a prompt with its trajectory is longer than the model's positions.
    """
    rows = expert_rows(policy, trajectories, prompts)
    longest = max((row.length for row in rows), default=0)
    check_positions(
        policy.model,
        longest,
        f"experts.base_logp: a prompt with its trajectory has {longest} tokens",
        "lower experts.max_tokens in params.yaml",
    )

    def logp(batch: Padded) -> Tensor:
        return token_logprobs(policy.model, batch, 1.0).logp

    totals = row_logp(rows, MICROBATCH_TOKENS, policy.model.device, logp)
    return [
        replace(trajectory, base_logp=total / len(row.response))
        for trajectory, row, total in zip(trajectories, rows, totals, strict=True)
    ]


def expert_rows(
    policy: LoadedPolicy, trajectories: Sequence[Trajectory], prompts: Sequence[Prompt]
) -> list[TrainingRow]:
    """Each trajectory as a response to its prompt, in tokens."""
    chat = Chat(policy.tokenizer)
    problems = {prompt.prompt_id: prompt.problem for prompt in prompts}
    tokens = {name: chat.prompt(problems[name]) for name in sorted({t.prompt_id for t in trajectories})}
    return [
        TrainingRow(t.prompt_id, tokens[t.prompt_id], chat.response(t.response), (), 1.0, number, t.kind)
        for number, t in enumerate(trajectories)
    ]
