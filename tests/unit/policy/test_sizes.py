"""Sizes that families name in their own way."""

from __future__ import annotations

import pytest
import torch

from hpt_core.policy.batching import TrainingRow, pad
from hpt_core.policy.module import PolicyModule
from hpt_core.policy.sizes import check_positions, head_width, positions
from tests.unit.policy.small_models import FAMILIES, small_model


@pytest.mark.parametrize(
    ("family", "expected"),
    [("llama", 64), ("gpt2", 64), ("opt", 64), ("phi3", 16), ("bloom", None), ("mamba", None)],
)
def test_positions(family: str, expected: int | None) -> None:
    assert positions(small_model(family)) == expected


def test_a_model_without_a_limit_has_room_for_everything() -> None:
    check_positions(small_model("mamba"), 10**9, "a row", "nothing")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_value_head_reads_what_the_lm_head_reads(family: str) -> None:
    """OPT-350m projects its hidden states down before its head, so that `hidden_size` is another width."""
    model = small_model(family)
    assert head_width(model) == (16 if family == "opt" else 32)
    module = PolicyModule.of(model, values=True)
    row = TrainingRow("p", [3, 4, 5], [6, 7, 8, 9], (), 0.0, 0, None)
    values = module(pad([row], 0, torch.device("cpu")), 1.0, values=True).value
    assert values.shape == (1, 4) and not values.any(), "it starts with the value 0 everywhere"
