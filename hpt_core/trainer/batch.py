"""From groups to tensors: the rows of a mini-batch, cut into micro-batches of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hpt_core.rollout.group import Group
from hpt_core.types import Rows


@dataclass(frozen=True)
class Row:
    """One sequence to learn from: a rollout or a demonstration."""

    prompt_id: str
    prompt: Sequence[int]
    response: Sequence[int]
    logp_old: Sequence[float]
    """The sampler's log-probabilities; empty for a demonstration."""
    reward: float
    group: int
    kind: str | None
    """The expert's kind; None for a rollout."""

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.response)


@dataclass(frozen=True)
class Padded:
    """B rows side by side: prompts padded on the left, responses on the right."""

    input_ids: Tensor
    """[B, P + T] int64."""
    attention: Tensor
    """[B, P + T] int64, 0 on padding."""
    mask: Tensor
    """[B, T] bool, True on response tokens."""
    logp_old: Tensor
    """[B, T] float32."""

    @property
    def responses(self) -> Tensor:
        """[B, T] int64."""
        return self.input_ids[:, -self.mask.shape[1] :]


def rows_of(groups: Sequence[Group]) -> list[Row]:
    """Every rollout and demonstration of the groups; the plan says which of them take part."""
    rows = []
    for number, group in enumerate(groups):
        task = group.task
        for rollout in group.rollouts:
            if rollout.reward is None:
                continue
            done = rollout.completion
            rows.append(
                Row(
                    rollout.prompt_id,
                    task.tokens,
                    done.token_ids,
                    done.logprobs,
                    rollout.reward,
                    number,
                    None,
                )
            )
        if task.expert is not None:
            rows.append(
                Row(task.prompt.prompt_id, task.tokens, task.demonstration, (), 1.0, number, task.expert.kind)
            )
    return rows


def facts(rows: Sequence[Row], device: torch.device) -> Rows:
    """What the estimator's plan reads of the rows."""
    return Rows(
        reward=torch.tensor([row.reward for row in rows], device=device),
        group=torch.tensor([row.group for row in rows], device=device),
        expert=torch.tensor([row.kind is not None for row in rows], device=device),
        length=torch.tensor([len(row.response) for row in rows], device=device),
    )


def micro_batches(rows: Sequence[Row], active: Tensor, budget: int) -> Iterator[list[int]]:
    """Indices of the active rows, longest first, at most `budget` padded tokens together.

    A row over the budget comes alone: it is the caller's memory to judge, not ours to drop data.
    """
    order = sorted(active.nonzero().squeeze(1).tolist(), key=lambda i: (-rows[i].length, i))
    batch: list[int] = []
    for i in order:
        grown = [*batch, i]
        width = max(len(rows[j].prompt) for j in grown) + max(len(rows[j].response) for j in grown)
        if batch and width * len(grown) > budget:
            yield batch
            grown = [i]
        batch = grown
    if batch:
        yield batch


def pad(rows: Sequence[Row], token: int, device: torch.device) -> Padded:
    """The rows as tensors; `token` fills the gaps."""
    before, after = max(len(row.prompt) for row in rows), max(len(row.response) for row in rows)
    input_ids = torch.full((len(rows), before + after), token)
    attention = torch.zeros((len(rows), before + after), dtype=torch.long)
    logp_old = torch.zeros((len(rows), after))
    for i, row in enumerate(rows):
        span = slice(before - len(row.prompt), before + len(row.response))
        input_ids[i, span] = torch.tensor([*row.prompt, *row.response])
        attention[i, span] = 1
        logp_old[i, : len(row.logp_old)] = torch.tensor(row.logp_old)
    mask = attention[:, before:].bool()
    return Padded(input_ids.to(device), attention.to(device), mask.to(device), logp_old.to(device))
