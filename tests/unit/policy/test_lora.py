"""LoRA adapters: only they are trained, and they merge into the weights of a plain model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, PreTrainedModel

from hpt_core.config import LoraConfig
from hpt_core.errors import InputError
from hpt_core.policy.lora import with_lora
from hpt_core.policy.model import LoadedPolicy, load_policy, merged_weights, save_policy, weights_hash

TOKENS = torch.arange(2, 26).view(2, 12)
CONFIG = LoraConfig(rank=3, alpha=7.5)


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        outputs: Tensor = model(TOKENS, use_cache=False).logits
    return outputs


def trained(policy: LoadedPolicy, config: LoraConfig = CONFIG) -> LoadedPolicy:
    """The policy in float64, with adapters that are no longer zero."""
    policy.model.double()
    with_lora(policy, config, seed=1)
    torch.manual_seed(2)
    for name, parameter in policy.model.named_parameters():
        if "lora_" in name:
            parameter.detach().add_(torch.randn_like(parameter), alpha=0.2)
    return policy


def plain(policy: LoadedPolicy, weights: dict[str, Tensor]) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_config(policy.model.config).to(policy.model.dtype).eval()
    keys = model.load_state_dict(weights, strict=False)
    assert not keys.unexpected_keys and set(keys.missing_keys) <= {"lm_head.weight"}, "the head is tied"
    return model


@pytest.mark.parametrize("architecture", ["policy", "absolute"])
def test_only_adapters_are_trained(request: pytest.FixtureRequest, architecture: str) -> None:
    policy = trained(request.getfixturevalue(architecture))
    policy.model(TOKENS, labels=TOKENS).loss.backward()
    with_gradient = {name for name, p in policy.model.named_parameters() if p.grad is not None}
    assert with_gradient and all(".lora_" in name for name in with_gradient)
    assert with_gradient == {name for name, p in policy.model.named_parameters() if p.requires_grad}
    linear = 7 if architecture == "policy" else 4
    assert len(with_gradient) == 2 * 2 * linear, "A and B for each linear layer of two decoder layers"


def test_new_adapters_change_nothing_and_depend_on_the_seed_only(policy: LoadedPolicy) -> None:
    before = logits(policy.model)
    torch.manual_seed(99)
    with_lora(policy, CONFIG, seed=1)
    assert_close(logits(policy.model), before, rtol=0, atol=0)
    first = policy.model.model.layers[0].mlp.up_proj
    assert first.scaling == {"default": 2.5}, "alpha / rank"
    again = first.lora_A["default"].weight.clone()
    torch.manual_seed(1234)
    other = LoadedPolicy(plain(policy, dict(merged_weights(policy.model))), policy.tokenizer)
    assert_close(
        with_lora(other, CONFIG, seed=1).model.model.layers[0].mlp.up_proj.lora_A["default"].weight,
        again,
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize("architecture", ["policy", "absolute"])
@pytest.mark.parametrize("targets", ["all-linear", "some"])
def test_merged_weights_are_a_plain_model_with_the_same_output(
    request: pytest.FixtureRequest, architecture: str, targets: str
) -> None:
    policy = request.getfixturevalue(architecture)
    names = {name for name, _ in policy.model.named_parameters()}
    bare = logits(policy.model.double())
    some = ["q_proj", "down_proj"] if architecture == "policy" else ["c_attn"]
    trained(policy, CONFIG if targets == "all-linear" else LoraConfig(rank=2, targets=some))
    weights = dict(merged_weights(policy.model))
    assert set(weights) == names
    assert not any(weight.requires_grad for weight in weights.values())
    expected = logits(policy.model)
    assert_close(logits(plain(policy, weights)), expected, rtol=1e-9, atol=1e-11)
    assert float((expected - bare).abs().max()) > 0.1


def test_merging_changes_neither_base_weights_nor_adapters(policy: LoadedPolicy) -> None:
    with_lora(policy, CONFIG, seed=1)
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    for _ in range(3):
        for _, tensor in merged_weights(policy.model):
            assert torch.is_grad_enabled(), "the iterator does not change the caller's mode"
            del tensor
    assert_close(policy.model.state_dict(), before, rtol=0, atol=0)


def test_a_model_without_adapters_has_its_parameters_as_merged_weights(policy: LoadedPolicy) -> None:
    assert_close(dict(merged_weights(policy.model)), dict(policy.model.named_parameters()), rtol=0, atol=0)


def test_a_saved_folder_is_an_ordinary_one(policy: LoadedPolicy, tmp_path: Path) -> None:
    trained(policy)
    policy.model.float()
    save_policy(policy, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"config.json", "model.safetensors"}
    loaded = load_policy(tmp_path).model
    assert weights_hash(loaded) == weights_hash(policy.model)
    assert_close(logits(loaded), logits(policy.model), rtol=1e-4, atol=1e-4)


def test_merged_weights_of_a_sharded_model_are_unsharded(policy: LoadedPolicy) -> None:
    trained(policy)
    expected = {name: value.clone() for name, value in merged_weights(policy.model)}
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        for module in [*policy.model.model.layers, policy.model]:
            fully_shard(module)
        assert_close(dict(merged_weights(policy.model)), expected, rtol=1e-12, atol=1e-12)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("targets", [["no_such_layer"], ["lm_head"], ["q_proj", "embed_tokens"]], ids=str)
def test_invalid_targets(policy: LoadedPolicy, targets: list[str]) -> None:
    with pytest.raises(InputError, match=r"train\.lora\.targets"):
        with_lora(policy, LoraConfig(targets=targets), seed=1)


def test_dropout_applies_in_training_mode_only(policy: LoadedPolicy) -> None:
    policy = trained(policy, LoraConfig(rank=2, dropout=0.5))
    assert_close(logits(policy.model.eval()), logits(policy.model), rtol=0, atol=0)
    torch.manual_seed(3)
    assert not torch.allclose(logits(policy.model.train()), logits(policy.model))
