"""Which parameters Muon trains: maps between hidden states, by what they are and not by their names."""

from __future__ import annotations

import pytest
from torch.optim import AdamW

from hpt_core.config import LoraConfig, OptimizerConfig
from hpt_core.policy.lora import with_lora
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.optimizers import Muon, build_optimizers
from tests.unit.policy.small_models import small_model

CONFIG = OptimizerConfig(name="muon", lr=0.1)
TABLES = {
    "llama": {"model.embed_tokens.weight", "lm_head.weight"},
    "llama tied": {"model.embed_tokens.weight"},
    "gpt2": {"transformer.wte.weight", "transformer.wpe.weight"},
    "opt": {"model.decoder.embed_tokens.weight", "model.decoder.embed_positions.weight"},
    "gpt_neox": {"gpt_neox.embed_in.weight", "lm_head.weight"},
    "bloom": {"transformer.word_embeddings.weight"},
}


@pytest.mark.parametrize("family", TABLES)
def test_muon_leaves_embeddings_and_head_to_adamw(family: str) -> None:
    model = small_model(family)
    names = {parameter: name for name, parameter in model.named_parameters()}
    adamw, muon = build_optimizers(model, CONFIG)
    assert isinstance(adamw, AdamW) and isinstance(muon, Muon)
    by_adamw, by_muon = (
        {names[p] for group in optimizer.param_groups for p in group["params"]} for optimizer in (adamw, muon)
    )
    assert {name for name in by_adamw if model.get_parameter(name).ndim == 2} == TABLES[family]
    assert by_adamw | by_muon == set(names.values()) and not by_adamw & by_muon


def test_muon_leaves_adapters_of_the_embedding_to_adamw() -> None:
    model = small_model("llama")
    with_lora(LoadedPolicy(model, None), LoraConfig(rank=2, targets=["embed_tokens", "q_proj", "lm_head"]), 1)  # type: ignore[arg-type]
    _, muon = build_optimizers(model, CONFIG)
    trained = {id(p) for group in muon.param_groups for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in trained}
    assert len(names) == 4 and all("q_proj.lora_" in name for name in names)
