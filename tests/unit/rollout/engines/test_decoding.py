"""The transformers engine samples other families as their plain forward pass has it, or refuses them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch.testing import assert_close

from hpt_core.config import Sampling
from hpt_core.errors import InputError
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.weights.precision import copy_in_dtype
from hpt_core.rollout.engines.decoding import Way
from hpt_core.rollout.engines.hf import HFEngine

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "intermediate_size": 48,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ATTENTION = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
MAMBA = {
    "mamba_d_state": 8,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 8,
}
HYBRID = ["linear_attention", "full_attention", "linear_attention"]
LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
FAMILIES: dict[str, tuple[dict[str, Any], Way]] = {
    # Its layers look for their own code by the name of the attention function.
    "Falcon": (
        {"num_attention_heads": 4, "new_decoder_architecture": True, "num_kv_heads": 2},
        Way(True, False),
    ),
    "GPTJ": (
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "rotary_dim": 8},
        Way(True, False),
    ),
    "Bloom": ({"hidden_size": 32, "n_layer": 2, "n_head": 4}, Way(True, False)),
    "GPTNeoX": (ATTENTION, Way(True, True)),
    "Mistral": (ATTENTION | {"sliding_window": 6}, Way(True, True)),
    # Recurrent layers, of which some would read the padding.
    "Mamba": ({"state_size": 8}, Way(False, False)),
    "Mamba2": (
        {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8},
        Way(True, False),
    ),
    "Jamba": (ATTENTION | EXPERTS | {"attn_layer_period": 2, "attn_layer_offset": 1}, Way(True, False)),
    "Qwen3Next": (ATTENTION | EXPERTS | LINEAR | {"layer_types": HYBRID, "head_dim": 8}, Way(True, False)),
    "Lfm2": (ATTENTION | {"layer_types": ["conv", "full_attention", "conv"]}, Way(True, True)),
    "FalconH1": (ATTENTION | MAMBA | {"mamba_d_ssm": 64}, Way(True, False)),
    "Bamba": (ATTENTION | MAMBA | {"attn_layer_indices": [1]}, Way(True, False)),
    "GraniteMoeHybrid": (
        ATTENTION | EXPERTS | MAMBA | {"layer_types": ["mamba", "attention", "mamba"]},
        Way(True, True),
    ),
}
REFUSED = {
    "Rwkv": ({"attention_hidden_size": 32, "context_length": 128}, "log-probabilities that are .* nats off"),
    "RecurrentGemma": (ATTENTION | {"lru_width": 32}, "log-probabilities that are .* nats off"),
    "MiniMax": (ATTENTION | EXPERTS | {"block_size": 8, "head_dim": 8}, "MiniMax uses cache of its own"),
}


def build(family: str, sizes: dict[str, Any], policy: LoadedPolicy) -> LoadedPolicy:
    """A small model of the family with random weights, scaled up so that its distribution is not uniform."""
    config_class = getattr(transformers, f"{family}Config")
    known = set(dir(config_class())) | set(config_class.__init__.__annotations__)
    keys = {key: value for key, value in (SIZES | sizes).items() if key in known}
    torch.manual_seed(3)
    config = config_class(vocab_size=len(policy.tokenizer), **keys)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
    return LoadedPolicy(model, policy.tokenizer)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_sampled_as_its_plain_forward_pass_has_it(
    family: str, policy: LoadedPolicy, prompt_tokens: list[list[int]]
) -> None:
    sizes, way = FAMILIES[family]
    built = build(family, sizes, policy)
    # Many tokens end a response, so that rows leave the batch.
    built.model.generation_config.eos_token_id = [2, *range(40, 80)]
    engine = HFEngine(built, slots=8)
    assert engine.way == way
    prompts = prompt_tokens * 3
    completions = engine.generate(prompts, range(len(prompts)), Sampling(temperature=0.9, max_new_tokens=14))
    assert len({len(completion.token_ids) for completion in completions}) > 2
    for prompt, completion in zip(prompts, completions, strict=True):
        ids = torch.tensor([[*prompt, *completion.token_ids]])
        with torch.no_grad():
            logits = built.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
        expected = (logits / 0.9).log_softmax(-1).gather(1, ids[0, len(prompt) :, None]).squeeze(1)
        assert_close(torch.tensor(completion.logprobs), expected, rtol=0, atol=1e-4)
    assert min(min(completion.logprobs) for completion in completions) < -1


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_does_not_continue_from_its_cache_is_refused(family: str, policy: LoadedPolicy) -> None:
    sizes, reason = REFUSED[family]
    built = build(family, sizes, policy)
    with pytest.raises(
        InputError, match=f"{family}ForCausalLM cannot be sampled with .*hf: .*{reason}"
    ) as error:
        HFEngine(built)
    assert "use another model" in str(error.value) and "\n" not in str(error.value)


def test_the_search_for_a_way_leaves_the_model_as_it_was(policy: LoadedPolicy) -> None:
    built = build("Mistral", ATTENTION, policy)
    built.model.train()
    state = torch.get_rng_state()
    HFEngine(built)
    assert built.model.training and built.model.config._attn_implementation == "sdpa"
    assert torch.equal(torch.get_rng_state(), state)


def test_rotary_frequencies_and_chosen_parameters_stay_float32(policy: LoadedPolicy) -> None:
    built = build(
        "DeepseekV3",
        ATTENTION
        | EXPERTS
        | {
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "q_lora_rank": 8,
            "kv_lora_rank": 8,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
            "first_k_dense_replace": 1,
        },
        policy,
    )
    model = copy_in_dtype(built.model, torch.bfloat16)
    kept = {
        name
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
        if tensor.dtype == torch.float32
    }
    assert {name.rsplit(".", 1)[1] for name in kept} == {
        "inv_freq",
        "original_inv_freq",
        "e_score_correction_bias",
    }
    assert_close(model.model.rotary_emb.inv_freq, built.model.model.rotary_emb.inv_freq, rtol=0, atol=0)
    assert model.dtype == torch.bfloat16 and built.model.dtype == torch.float32
