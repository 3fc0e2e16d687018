"""Which families keep the rows of a sequence apart, and what is said of the others."""

from __future__ import annotations

import pytest
from small_models import small_model

from hpt_core.errors import InputError
from hpt_core.policy.packing import check_packing


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2", "phi3", "gpt2", "qwen3_moe", "mixtral"])
def test_attention_keeps_rows_apart(family: str) -> None:
    model = small_model(family).train()
    check_packing(model)
    assert model.training, "the mode is as it was"


@pytest.mark.parametrize("family", ["mamba", "jamba", "bloom", "opt"])
def test_a_model_that_reads_across_rows_is_refused(family: str) -> None:
    model = small_model(family)
    expected = rf"train.packing: {type(model).__name__} does not keep .*; set it to false"
    with pytest.raises(InputError, match=expected):
        check_packing(model)
