"""The distance of trajectories from a policy, against one sequence at a time."""

from __future__ import annotations

import math

import pytest
import torch

from hpt_core.policy import distance
from hpt_core.policy.batching import TrainingRow
from hpt_core.policy.chat import Chat
from hpt_core.policy.distance import Distance, distances, overlap, summary
from hpt_core.policy.model import LoadedPolicy

RESPONSES = ("7", "3 + 4 = 7", "pots as ever")


def rows_of(policy: LoadedPolicy) -> list[TrainingRow]:
    chat = Chat(policy.tokenizer)
    return [
        TrainingRow(f"p{i}", chat.prompt("3 + 4 ="), chat.response(text), (), 1.0, i, "human")
        for i, text in enumerate(RESPONSES)
    ]


@pytest.mark.parametrize("logits", [1, 1 << 26])
def test_nll_rank_and_gradient_are_those_of_one_sequence(
    policy: LoadedPolicy, logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one forward pass together, and in one each."""
    monkeypatch.setattr(distance, "LOGITS", logits)
    rows, model = rows_of(policy), policy.model
    for row, found in zip(rows, distances(model, rows, {}, gradients=2), strict=True):
        tokens = torch.tensor([[*row.prompt, *row.response]])
        scores = model(tokens).logits[0, len(row.prompt) - 1 : -1]
        logp = scores.log_softmax(-1).gather(1, torch.tensor(row.response)[:, None]).squeeze(1)
        # The rank by sorting, where the code counts the larger ones.
        order = scores.argsort(1, descending=True).tolist()
        ranks = [1 + of.index(token) for of, token in zip(order, row.response, strict=True)]
        assert found.tokens == len(row.response) and found.overlap is None
        assert found.nll == pytest.approx(-float(logp.sum()), rel=1e-5)
        assert found.ranks == sum(min(rank, 100) for rank in ranks) and max(ranks) > 1
        if row.prompt_id == "p2":
            assert found.gradient_norm is None
            continue
        gradients = torch.autograd.grad(-logp.mean(), list(model.parameters()))
        norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
        assert found.gradient_norm == pytest.approx(norm, rel=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_overlap_counts_distinct_3_grams() -> None:
    assert overlap([1, 2, 3, 4, 5], [[0, 1, 2, 3], [3, 4, 5]]) == pytest.approx(2 / 3)
    assert overlap([1, 2, 3, 1, 2, 3], [[1, 2, 3]]) == pytest.approx(1 / 3)
    assert overlap([1, 2, 3], [[4, 5, 6]]) == 0
    assert overlap([1, 2], [[1, 2, 3]]) is None, "too short for one"
    assert overlap([1, 2, 3], []) is None, "the policy was not sampled"


def test_a_summary_pools_tokens() -> None:
    """The ratio of the means over all tokens, not the mean of the ratios."""
    found = summary([Distance(2, 1.0, 4.0, 0.5, 2.0), Distance(8, 9.0, 16.0, None)])
    assert found == pytest.approx(
        {
            "trajectories": 2,
            "tokens": 5.0,
            "nll": 1.0,
            "rank": 2.0,
            "rank_over_nll": 2.0,
            "overlap": 0.5,
            "gradient_norm": 2.0,
        }
    )
