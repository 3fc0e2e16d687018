"""A copy in another dtype is what `from_pretrained` would read, bit by bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.weights.precision import copy_in_dtype
from hpt_core.rollout.engines.hf import HFEngine
from tests.unit.policy.small_models import FAMILIES, logits, small_model

TOKENS = torch.arange(2, 26).view(2, 12)


def tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """All parameters and buffers, those included that no file has."""
    named = (model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
    return {name: tensor.detach() for part in named for name, tensor in part}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_copy_is_what_transformers_reads_from_disk(
    tmp_path: Path, family: str, dtype: torch.dtype
) -> None:
    model = small_model(family)
    model.save_pretrained(tmp_path)
    expected = tensors(AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype))
    before = {name: tensor.clone() for name, tensor in tensors(model).items()}
    copy = copy_in_dtype(model, dtype)
    found = tensors(copy)
    assert found.keys() == expected.keys() and copy.dtype == dtype
    for name, tensor in found.items():
        assert tensor.dtype == expected[name].dtype, name
        assert torch.equal(tensor, expected[name]), name
    for name, tensor in tensors(model).items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, before[name]), "the model is untouched"
    shared = {t.data_ptr() for t in found.values()} & {t.data_ptr() for t in tensors(model).values()}
    assert not shared, "no memory is shared"


def test_what_stays_in_float32() -> None:
    kept = {
        family: {
            name.rpartition(".")[2]
            for name, tensor in tensors(copy_in_dtype(small_model(family), torch.bfloat16)).items()
            if tensor.dtype == torch.float32
        }
        for family in ("llama", "deepseek_v3", "gpt2")
    }
    ropes = {"inv_freq", "original_inv_freq"}
    assert kept == {"llama": ropes, "deepseek_v3": {*ropes, "e_score_correction_bias"}, "gpt2": set()}


def test_a_rotation_does_not_err_with_the_position() -> None:
    """In bfloat16 a frequency is wrong by up to 0.4%, an error of the angle that grows with the position."""
    model = small_model("llama", max_position_embeddings=4096)
    copy = copy_in_dtype(model, torch.bfloat16)
    places = torch.arange(4096)[None]
    cos, _ = copy.model.rotary_emb(torch.zeros(1), places)
    expected, _ = model.model.rotary_emb(torch.zeros(1), places)
    assert torch.equal(cos, expected)
    wrong, _ = small_model("llama").to(torch.bfloat16).model.rotary_emb(torch.zeros(1), places)
    assert (wrong - expected).abs().max() > 0.3


def test_tied_weights_stay_tied_and_the_engine_uses_the_copy(policy: LoadedPolicy) -> None:
    copy = copy_in_dtype(policy.model, torch.bfloat16)
    assert copy.lm_head.weight is copy.model.embed_tokens.weight
    engine = HFEngine(policy, dtype=torch.bfloat16)
    assert torch.equal(logits(engine.model, TOKENS), logits(copy, TOKENS))
    assert engine.model.model.rotary_emb.inv_freq.dtype == torch.float32
