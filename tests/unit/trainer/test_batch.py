"""Rows as tensors: each complete and in order, padded to the longest row."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import torch
from torch.testing import assert_close

from hpt_core.policy.batching import TrainingRow, micro_batches, pad

CPU = torch.device("cpu")
PAD = 999


def row(prompt: int, response: int, first: int = 1) -> TrainingRow:
    """Tokens that count up from `first`, so that each one shows its position."""
    tokens = list(range(first, first + prompt + response))
    logp = [-0.5 * token for token in tokens[prompt:]]
    return TrainingRow("p", tokens[:prompt], tokens[prompt:], logp, 1.0, 0, None)


@pytest.fixture
def ragged() -> list[TrainingRow]:
    lengths = [(3, 4), (1, 1), (6, 1), (2, 9), (5, 0)]
    return [row(prompt, response, 100 * i + 1) for i, (prompt, response) in enumerate(lengths)]


def test_a_row_is_prompt_and_response_and_then_padding(ragged: list[TrainingRow]) -> None:
    batch = pad(ragged, PAD, CPU)
    assert batch.input_ids.shape == (5, 2 + 9), "the longest row, not the longest prompt and response"
    for given, tokens in zip(ragged, batch.input_ids.tolist(), strict=True):
        assert tokens == [*given.prompt, *given.response] + [PAD] * (11 - given.length)


def test_mask_and_old_log_probabilities_start_at_the_response(ragged: list[TrainingRow]) -> None:
    batch = pad(ragged, PAD, CPU)
    assert batch.mask.shape == batch.logp_old.shape == (5, 9)
    for given, mask, logp, start in zip(ragged, batch.mask, batch.logp_old, batch.start, strict=True):
        n = len(given.response)
        assert mask.tolist() == [True] * n + [False] * (9 - n)
        assert logp[:n].tolist() == list(given.logp_old) and not logp[n:].any()
        assert start == len(given.prompt)


def test_a_demonstration_has_no_old_log_probabilities() -> None:
    demonstration = TrainingRow("p", [1, 2], [3, 4, 5], (), 1.0, 0, "human")
    assert not pad([demonstration, row(2, 4)], PAD, CPU).logp_old[0].any()


def test_tokens_are_those_of_the_responses_in_order(ragged: list[TrainingRow]) -> None:
    batch = pad(ragged, PAD, CPU)
    index, number, column = batch.tokens
    assert batch.input_ids[index, column].tolist() == [t for given in ragged for t in given.response]
    assert_close(batch.logp_old[index, number], -0.5 * batch.input_ids[index, column].float())


@pytest.mark.parametrize("budget", [1, 40, 64, 300, 10**6])
def test_micro_batches_are_within_the_budget_and_as_full_as_the_order_allows(budget: int) -> None:
    draw = random.Random(4)
    rows = [row(draw.randint(1, 12), draw.randint(1, 40)) for _ in range(60)]
    active = torch.tensor([draw.random() < 0.7 for _ in rows])
    cut = list(micro_batches(rows, active, budget))
    order = [i for part in cut for i in part]
    assert sorted(order) == active.nonzero().squeeze(1).tolist(), "every active row once"
    lengths = [rows[i].length for i in order]
    assert lengths == sorted(lengths, reverse=True)
    for part in cut:
        assert pad([rows[i] for i in part], PAD, CPU).input_ids.numel() <= budget or len(part) == 1
    for part, following in pairwise(cut):
        assert rows[part[0]].length * (len(part) + 1) > budget, "the next row would exceed the budget"
        assert rows[following[0]].length <= rows[part[-1]].length


def test_long_prompts_and_long_responses_together_cost_their_sum_and_no_more() -> None:
    """As separate prompt and response columns these two rows would be 100 wide and exceed the budget."""
    rows = [row(50, 2), row(2, 50)]
    assert list(micro_batches(rows, torch.tensor([True, True]), 104)) == [[0, 1]]
    assert list(micro_batches(rows, torch.tensor([True, True]), 103)) == [[0], [1]]


@pytest.mark.parametrize("budget", [100, 2000, 16384, 10**6])
def test_packed_rows_leave_little_padding(budget: int) -> None:
    draw = random.Random(6)
    rows = [row(draw.randint(10, 30), draw.randint(90, 770)) for _ in range(320)]
    longest = max(given.length for given in rows)
    assert 7 < longest / min(given.length for given in rows) < 8
    cut = list(micro_batches(rows, torch.ones(len(rows)), budget, longest))
    assert sorted(i for part in cut for i in part) == list(range(len(rows))), "every row once"
    batches = [pad([rows[i] for i in part], PAD, CPU, longest) for part in cut]
    assert all(batch.input_ids.numel() <= max(budget, longest) for batch in batches)
    passed = sum(batch.input_ids.numel() for batch in batches)
    assert 1 - sum(given.length for given in rows) / passed < 0.05
    wide = [pad([rows[i] for i in part], PAD, CPU) for part in micro_batches(rows, torch.ones(320), 10**6)]
    assert 1 - sum(given.length for given in rows) / sum(b.input_ids.numel() for b in wide) > 0.4


def test_packed_rows_are_whole_and_begin_at_position_0(ragged: list[TrainingRow]) -> None:
    batch = pad(ragged, PAD, CPU, 12)
    assert batch.positions is not None and batch.input_ids.shape == (3, 12)
    index, number, column = batch.tokens
    found = batch.input_ids[batch.sequence[index], column].tolist()
    assert found == [t for given in ragged for t in given.response]
    assert_close(batch.logp_old[index, number], -0.5 * torch.tensor(found, dtype=torch.float32))
    begun = (batch.positions == 0).sum()
    padded = sum(int((ids == PAD).any()) for ids in batch.input_ids)
    assert begun == len(ragged) + padded, "each row, and the padding behind the last row of a sequence"
    for i, given in enumerate(ragged):
        first = int(batch.start[i]) - len(given.prompt)
        at = batch.sequence[i], slice(first, first + given.length)
        assert batch.input_ids[at].tolist() == [*given.prompt, *given.response]
        assert batch.positions[at].tolist() == list(range(given.length))


def test_no_active_row_is_no_batch() -> None:
    assert list(micro_batches([row(2, 2)], torch.tensor([False]), 100)) == []


def test_a_row_knows_its_length() -> None:
    assert row(2, 3).length == 5
