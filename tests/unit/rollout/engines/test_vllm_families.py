"""The real vLLM takes over pushed weights of other families and leaves the classes of transformers alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from policies import skip_without_vllm
from torch.testing import assert_close

from hpt_core.config import RolloutConfig, VLLMConfig
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.weights.hashed import HashedWeights
from hpt_core.rollout.engine_check import EngineCheck
from hpt_core.rollout.engines.vllm import VLLMEngine

skip_without_vllm()

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
HEADS, EXPERTS = {"head_dim": 32}, {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    # transformers holds its experts as one tensor, and vLLM's loader knows those of the checkpoint.
    "Qwen3Moe": HEADS | EXPERTS | {"moe_intermediate_size": 64},
    "Mixtral": EXPERTS,
    "DeepseekV3": {
        **EXPERTS,
        "topk_method": "noaux_tc",
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 64,
        "kv_lora_rank": 512,
        "q_lora_rank": 32,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 32,
        "v_head_dim": 32,
        "num_key_value_heads": 2,
    },
    # vLLM's loader writes its experts and sinks past the weight loaders.
    "GptOss": HEADS
    | EXPERTS
    | {"layer_types": ["sliding_attention", "full_attention"], "attn_implementation": "eager"},
    # vLLM has no code of its own for them, and changes transformers' class.
    "SmolLM3": {"pad_token_id": None},
    "Olmo2": {"pad_token_id": None},
    # Each of its heads has its own keys; vLLM would believe a config that says otherwise.
    "GPTNeoX": {"num_key_value_heads": 2},
}

OTHERS = FAMILIES.keys() - {"Qwen3Moe", "SmolLM3"}
"""Run by `make test-all`: one family with experts and one that vLLM has no code for are always tested."""
REFUSED = {"DeepseekV3"}
"""Families that vLLM 0.32 on a CPU does not sample as transformers computes them, as the check of the engine
finds."""


def build(family: str, policy: LoadedPolicy) -> LoadedPolicy:
    torch.manual_seed(3)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(policy.tokenizer), **(SIZES | FAMILIES[family])
    )
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    return LoadedPolicy(model, policy.tokenizer)


@pytest.fixture(scope="module", autouse=True)
def groups_with_experts() -> None:
    """vLLM makes its process groups with the first engine of a process, and one without experts has no group
    for them."""
    from vllm.distributed.parallel_state import destroy_model_parallel

    destroy_model_parallel()


@torch.no_grad()
def move(policy: LoadedPolicy, size: float) -> None:
    """Change every weight, so much that the distribution is another one."""
    for parameter in policy.model.parameters():
        parameter.add_(size * torch.randn_like(parameter))


@pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=[pytest.mark.slow] if name in OTHERS else []) for name in FAMILIES],
)
def test_a_family_is_sampled_right_before_and_after_a_push(family: str, policy: LoadedPolicy) -> None:
    built = build(family, policy)
    move(built, 0.1)
    kinds = {
        type(module): (type(module).__bases__, dict(vars(type(module)))) for module in built.model.modules()
    }
    ids = torch.tensor([[1, 5, 9]])
    before = built.model(ids).logits
    engine = VLLMEngine(built, slots=8, config=VLLMConfig(cpu_cache_gib=1))
    for kind, (bases, attributes) in kinds.items():
        assert kind.__bases__ == bases
        assert {name: value for name, value in vars(kind).items() if attributes.get(name) is not value} == {}
    assert_close(built.model(ids).logits, before, rtol=0, atol=0)
    assert type(built.model)(built.model.config) is not None, "a new model of the class can be built"

    rollout = RolloutConfig(engine="vllm", group_size=2, max_prompt_tokens=60, max_new_tokens=16)
    prompts = [Chat(policy.tokenizer).prompt(text) for text in ("1", "1 + 2 =", "12 - 3 + 45 - 6 =")]
    check = EngineCheck(engine, built.model, built.model, prompts, rollout)
    if family in REFUSED:
        assert "samples another policy than the model's" in (check.fault() or "")
        return
    assert check.fault() is None
    first = check.before
    move(built, 0.1)
    assert check.fault() is not None, "the engine has the weights of before"
    engine.load_weights(HashedWeights(built.model))
    assert check.fault() is None
    assert first is not None and check.before is not None and first.tokens != check.before.tokens
