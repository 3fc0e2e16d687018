"""Rows that share a sequence have the gradient that they have alone."""

from __future__ import annotations

from typing import Any

import pytest
from rank_worker import MASKED, gradient, ragged
from torch.testing import assert_close

from hpt_core.config import KLConfig
from hpt_core.trainer.ranks import Ranks

CASES: dict[str, dict[str, Any]] = {
    "hpt": {},
    "ppo": {"algorithm": "ppo", "kl": KLConfig(coefficient=0.1)},
    "masked": MASKED,
    "small budget": {"microbatch_tokens": 30},
    "one batch": {"microbatch_tokens": 10_000},
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("tied", [True, False])
def test_packed_rows_have_the_gradient_of_padded_ones(name: str, tied: bool) -> None:
    padded, sums = gradient(Ranks(), tied, ragged(), **CASES[name])
    packed, packed_sums = gradient(Ranks(), tied, ragged(), packing=True, **CASES[name])
    assert len(padded) > 20 and all(each.abs().max() > 1e-6 for each in padded.values())
    assert_close(packed, padded, rtol=1e-9, atol=1e-13)
    assert packed_sums["tokens_masked"] == sums["tokens_masked"]
    assert (0 < sums["tokens_masked"] < sums["tokens_maskable"]) == (name == "masked")
    assert packed_sums["tokens_passed"] == sums["tokens_passed"]
    assert packed_sums["tokens_with_padding"] < sums["tokens_with_padding"]
