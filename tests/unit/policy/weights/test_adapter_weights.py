"""Adapters beside the weights that they are added to: their product, their name, and which can be served."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.testing import assert_close

from hpt_core.config import LoraConfig
from hpt_core.errors import InputError
from hpt_core.policy.lora import with_lora
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.weights.adapters import adapter_weights, check_served_layers
from hpt_core.policy.weights.hashed import HashedWeights, weights_hash
from hpt_core.policy.weights.merged import base_weights, merged_weights, named_weights
from tests.unit.policy.small_models import small_model

CONFIG = LoraConfig(rank=2, alpha=5.0)


def adapted(policy: LoadedPolicy, family: str = "llama", config: LoraConfig = CONFIG) -> LoadedPolicy:
    model = small_model(family, experts_implementation="eager").to(torch.float64)  # type: ignore[arg-type]
    built = with_lora(LoadedPolicy(model, policy.tokenizer), config, seed=1)
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.add_(torch.randn_like(parameter))
    return built


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
def test_base_and_factors_are_the_merged_weights(policy: LoadedPolicy, *, sharded: bool) -> None:
    built = adapted(policy).model
    plain, merged = dict(named_weights(small_model("llama").to(torch.float64))), dict(merged_weights(built))  # type: ignore[arg-type]
    if sharded:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        for module in [*built.model.layers, built] if sharded else []:
            fully_shard(module)
        base, factors = dict(base_weights(built)), dict(adapter_weights(built))
    finally:
        if sharded:
            dist.destroy_process_group()
    assert_close(base, plain, rtol=0, atol=0)
    layers = {name.rpartition(".lora_")[0] for name in factors}
    assert len(factors) == 2 * len(layers) == 2 * 7 * len(built.model.layers)
    for layer in layers:
        base[f"{layer}.weight"] = (
            base[f"{layer}.weight"] + factors[f"{layer}.lora_B.weight"] @ factors[f"{layer}.lora_A.weight"]
        )
    assert_close(base, merged, rtol=1e-12, atol=1e-12)
    assert any((base[name] - plain[name]).abs().max() > 1 for name in base)


def test_the_name_covers_the_base_the_factors_and_their_scale(policy: LoadedPolicy) -> None:
    built, names = adapted(policy).model, set()

    def add(model: torch.nn.Module, base: str) -> str:
        adapters = HashedWeights(model, adapter_weights, base)  # type: ignore[arg-type]
        assert dict(adapters) and len(adapters.name) == 16
        names.add(adapters.name)
        return adapters.name

    first = add(built, "base")
    assert add(built, "base") == first
    add(built, "another base")
    other = copy.deepcopy(built)
    with torch.no_grad():
        next(p for name, p in other.named_parameters() if "lora_A" in name)[0, 0] += 1e-9
    add(other, "base")
    add(adapted(policy, config=CONFIG.model_copy(update={"alpha": 6.0})).model, "base")
    assert len(names) == 4
    base = HashedWeights(built, base_weights)
    assert dict(base) and base.name == weights_hash(small_model("llama").to(torch.float64))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("family", "targets", "kind"),
    [
        ("qwen3_moe", "all-linear", r"Qwen3MoeExperts, no linear layer"),
        ("llama", ["q_proj", "lm_head"], "the LM head"),
        ("llama", ["embed_tokens"], "Embedding, no linear layer"),
    ],
    ids=str,
)
def test_what_cannot_be_served_is_refused(
    policy: LoadedPolicy, family: str, targets: list[str], kind: str
) -> None:
    built = adapted(policy, family, LoraConfig(targets=targets)).model
    remedy = r"leave it out of train\.lora\.targets, or set rollout\.vllm\.lora: false"
    with pytest.raises(InputError, match=rf"rollout\.vllm\.lora: the adapter of .* is on {kind}.*{remedy}"):
        check_served_layers(built)
    check_served_layers(adapted(policy, family, LoraConfig(targets=["q_proj", "o_proj"])).model)
