"""A model is run with an attention that computes all that the model means."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from hpt_core.policy.loading.attention import attention_difference, score_cap
from hpt_core.policy.model import LoadedPolicy, load_policy
from tests.unit.policy.small_models import FAMILIES, logits, save, small_model

TOKENS = torch.arange(2, 26).view(2, 12)
EAGER = {"gemma2", "vaultgemma", "gpt_oss", "bloom", "mamba"}
"""Families with a softcap, with sinks, or with an attention of their own."""


@pytest.mark.parametrize("family", FAMILIES)
def test_the_chosen_attention_is_the_plain_one(policy: LoadedPolicy, tmp_path: Path, family: str) -> None:
    model = small_model(family)
    loaded = load_policy(save(model, policy.tokenizer, tmp_path)).model
    assert (loaded.config._attn_implementation == "eager") == (family in EAGER)
    assert attention_difference(loaded, TOKENS) < 1e-5
    if family in {"gemma2", "vaultgemma"}:
        assert score_cap(model) == 1.5
        assert attention_difference(model, TOKENS) > 0.1, "under sdpa the cap is dropped"
        uncapped = small_model(family, attn_logit_softcapping=None)
        assert_close(logits(model, TOKENS), logits(uncapped, TOKENS), rtol=1e-5, atol=1e-4)


def test_gemma_2_without_a_cap_keeps_the_fast_kernel(policy: LoadedPolicy, tmp_path: Path) -> None:
    model = small_model("gemma2", attn_logit_softcapping=None)
    loaded = load_policy(save(model, policy.tokenizer, tmp_path)).model
    assert loaded.config._attn_implementation == "sdpa"
