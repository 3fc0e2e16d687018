"""Every kind of adapter is in the merged, pushed, hashed and saved weights, or is refused before training."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
import torch.distributed as dist
from peft.tuners.lora import LoraLayer, ParamWrapper
from torch.distributed.fsdp import fully_shard
from torch.testing import assert_close
from transformers import PreTrainedModel

from hpt_core.config import LoraConfig
from hpt_core.errors import InputError
from hpt_core.policy.lora import _check_layers, with_lora
from hpt_core.policy.model import LoadedPolicy, load_policy, save_policy, weights_hash
from hpt_core.policy.weights.hashed import HashedWeights
from hpt_core.policy.weights.merged import merged_weights, persistent_buffers
from hpt_core.rollout.engines.hf import HFEngine
from tests.unit.policy.small_models import logits, small_model

TOKENS = torch.arange(2, 26).view(2, 12)
CASES: list[tuple[str, list[str] | None]] = [
    ("llama", None),
    ("llama", ["embed_tokens", "q_proj"]),
    ("llama", ["lm_head", "up_proj"]),
    ("llama tied", None),
    ("gpt2", None),
    ("bloom", None),
    ("opt", None),
    ("falcon", None),
    ("phi3", None),
    ("gpt_oss", None),
    ("jamba", None),
    ("llama4_text", None),
    ("qwen3_moe", None),
    ("qwen3_moe", ["gate_proj", "up_proj", "down_proj"]),
    ("mixtral", None),
    ("deepseek_v3", None),
]
EXPERTS = {"qwen3_moe", "mixtral", "deepseek_v3"}


def adapted(
    family: str, targets: list[str] | None, policy: LoadedPolicy, dtype: torch.dtype = torch.float64
) -> LoadedPolicy:
    """A policy of the family with adapters that are not zero."""
    # Stacked experts have a kernel of their own, which float64 does not have.
    model = small_model(family, experts_implementation="eager").to(dtype)  # type: ignore[arg-type]
    config = LoraConfig(rank=2, alpha=5.0, targets=targets or "all-linear")
    built = with_lora(LoadedPolicy(model, policy.tokenizer), config, seed=1)
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return built


def plain(family: str, dtype: torch.dtype = torch.float64) -> PreTrainedModel:
    return small_model(family, experts_implementation="eager").to(dtype)  # type: ignore[arg-type]


@pytest.mark.parametrize(("family", "targets"), CASES, ids=str)
def test_the_merged_weights_are_the_adapted_model(
    policy: LoadedPolicy, family: str, targets: list[str] | None
) -> None:
    built = adapted(family, targets, policy)
    merged = plain(family)
    before = logits(merged, TOKENS)
    weights = dict(merged_weights(built.model))
    assert weights.keys() == dict(merged.named_parameters()).keys()
    assert not merged.load_state_dict(weights, strict=False).unexpected_keys
    expected = logits(built.model, TOKENS)
    assert_close(logits(merged, TOKENS), expected, rtol=1e-9, atol=1e-9)
    assert (expected - before).abs().max() > 1
    wrapped = [layer for layer in built.model.modules() if isinstance(layer, ParamWrapper)]
    assert bool(wrapped) == (family in EXPERTS)


SAVED = [case for case in CASES if case[0] in {*EXPERTS, "gpt2"}]


@pytest.mark.parametrize(("family", "targets"), SAVED, ids=str)
def test_saved_pushed_and_hashed(
    policy: LoadedPolicy, tmp_path: Path, family: str, targets: list[str] | None
) -> None:
    built = adapted(family, targets, policy, torch.float32)
    expected = logits(built.model, TOKENS)
    engine = HFEngine(LoadedPolicy(plain(family, torch.float32), policy.tokenizer))
    assert weights_hash(engine.model) != weights_hash(built.model)
    engine.load_weights(HashedWeights(built.model))
    assert_close(logits(engine.model, TOKENS), expected, rtol=1e-4, atol=1e-4)
    assert weights_hash(engine.model) == weights_hash(built.model)
    save_policy(built, tmp_path)
    loaded = load_policy(tmp_path).model
    assert weights_hash(loaded) == weights_hash(built.model)
    assert_close(logits(loaded, TOKENS), expected, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, LoraLayer) for module in loaded.modules())


@pytest.mark.parametrize("family", ["qwen3_moe", "gpt2"])
def test_sharded_adapters_of_every_kind(policy: LoadedPolicy, family: str) -> None:
    built = adapted(family, None, policy)
    expected, weights = logits(built.model, TOKENS), dict(merged_weights(built.model))
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        layers = built.model.model.layers if family == "qwen3_moe" else built.model.transformer.h
        for module in [*layers, built.model]:
            fully_shard(module)
        assert_close(dict(merged_weights(built.model)), weights, rtol=1e-12, atol=1e-12)
        assert_close(logits(built.model, TOKENS), expected, rtol=1e-9, atol=1e-9)
    finally:
        dist.destroy_process_group()


def test_adapters_of_experts_are_trained(policy: LoadedPolicy) -> None:
    built = adapted("qwen3_moe", None, policy)
    built.model(TOKENS, labels=TOKENS).loss.backward()
    trained = {name: p.grad for name, p in built.model.named_parameters() if p.requires_grad}
    experts = [name for name in trained if ".experts." in name]
    assert len(experts) == 8, "A and B of two stacks in two layers"
    assert all(trained[name] is not None and trained[name].any() for name in experts)


@pytest.mark.parametrize("targets", [["q_proj", "no_such"], ["q_proj", "gate_up_proj"]], ids=str)
def test_a_target_that_no_layer_has(policy: LoadedPolicy, targets: list[str]) -> None:
    """peft is content with one that is found."""
    model = small_model("qwen3_moe")
    with pytest.raises(
        InputError, match=rf"no layer is called {targets[1]}; .*k_proj, lm_head, o_proj, q_proj"
    ):
        with_lora(LoadedPolicy(model, policy.tokenizer), LoraConfig(targets=targets), seed=1)


@pytest.mark.parametrize(("family", "name"), [("jamba", "dt_proj"), ("llama4_text", "router")])
def test_a_layer_whose_adapter_would_not_act(policy: LoadedPolicy, family: str, name: str) -> None:
    """Jamba multiplies by the weight of dt_proj itself, Llama 4's router returns a tuple."""
    model = small_model(family)
    with pytest.raises(InputError, match=rf"an adapter on .*\.{name} would not act"):
        with_lora(LoadedPolicy(model, policy.tokenizer), LoraConfig(targets=["o_proj", name]), seed=1)
    built = with_lora(LoadedPolicy(model, policy.tokenizer), LoraConfig(), seed=1).model
    adapted_names = {
        name.rpartition(".")[2] for name, module in built.named_modules() if isinstance(module, LoraLayer)
    }
    assert name not in adapted_names and {"q_proj", "o_proj", "up_proj"} <= adapted_names


def test_a_shared_matrix_takes_no_adapter(policy: LoadedPolicy) -> None:
    for family, target in (("gpt2", "wte"), ("llama tied", "lm_head"), ("opt", "embed_tokens")):
        with pytest.raises(InputError, match="share one matrix"):
            with_lora(
                LoadedPolicy(small_model(family), policy.tokenizer), LoraConfig(targets=[target]), seed=1
            )


def test_a_kind_of_layer_that_is_not_merged() -> None:
    model = small_model("llama")
    model.extra = torch.nn.Conv2d(2, 2, 1)
    peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=["extra"]), model)
    with pytest.raises(InputError, match=r"the adapter of extra \(Conv2d\) cannot be merged"):
        _check_layers(model, LoraConfig(targets=["extra"]), ["extra"])


def test_the_hash_covers_what_is_saved_and_not_trained() -> None:
    """DeepSeek-V3 routes by a buffer that no gradient reaches."""
    model = small_model("deepseek_v3")
    names = [name for name, _ in persistent_buffers(model)]
    assert names == ["model.layers.1.mlp.gate.e_score_correction_bias"]
    before = weights_hash(model)
    model.get_buffer(names[0])[0] += 1.0
    assert weights_hash(model) != before
