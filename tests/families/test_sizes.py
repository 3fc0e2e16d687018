"""What the trainer reads of a configuration or asks of a class, in families that have it otherwise."""

from __future__ import annotations

import pytest

from hpt_core.errors import InputError
from hpt_core.policy.logprobs import checkpoint_layers
from hpt_core.policy.module import PolicyModule
from hpt_core.trainer.measures.throughput import flops

from .zoo import WIDTH, build


@pytest.mark.parametrize("model_type", ["llama", "gemma", "gemma3_text", "gemma3", "mpt", "mamba"])
def test_a_lookup_is_no_product_but_a_tied_head_is(model_type: str) -> None:
    """6 operations per matrix weight and token, and attention of 6 x layers x hidden per pair of tokens."""
    model = build(model_type).model
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert tied == (model_type != "llama")
    matrices = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    embedding = 0 if tied else model.get_input_embeddings().weight.numel()
    assert flops(model, [5]) == 6 * (matrices - embedding) * 5 + 6 * 2 * WIDTH * 25


@pytest.mark.parametrize("model_type", ["gpt2", "gemma3", "mpt", "mamba"])
def test_the_value_head_has_the_width_of_the_lm_head(model_type: str) -> None:
    head = PolicyModule.of(build(model_type).model, values=True).value_head
    assert head is not None and head.in_features == WIDTH


def test_a_class_that_cannot_recompute_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"train\.gradient_checkpointing: JetMoeForCausalLM .* set it to false"
    ):
        checkpoint_layers(build("jetmoe").model)
    checkpoint_layers(build("llama").model)
