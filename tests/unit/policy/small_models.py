"""Small models of real families with random weights, whose every part matters for the logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

VOCABULARY = 300
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": 1,
}
EXPERTS: dict[str, Any] = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [2.0, 3.0, 4.0, 5.0],
    "original_max_position_embeddings": 16,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama tied": {"model_type": "llama", "tie_word_embeddings": True},
    "qwen2": {},
    "gemma2": {"head_dim": 8, "attn_logit_softcapping": 1.5, "query_pre_attn_scalar": 8},
    "vaultgemma": {"head_dim": 8, "attn_logit_softcapping": 1.5, "query_pre_attn_scalar": 8},
    "phi3": {"rope_parameters": LONG_ROPE, "original_max_position_embeddings": 16},
    "gpt2": {"n_positions": 64, "n_inner": 48},
    "bloom": {"max_position_embeddings": None},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 16},
    "gpt_neox": {},
    "falcon": {"new_decoder_architecture": False},
    "mamba": {"state_size": 4, "max_position_embeddings": None},
    "qwen3_moe": {**EXPERTS, "head_dim": 8, "moe_intermediate_size": 24},
    "mixtral": EXPERTS,
    "jamba": {
        **EXPERTS,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_d_state": 4,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "llama4_text": {**EXPERTS, "head_dim": 8, "intermediate_size_mlp": 48, "moe_layers": [1]},
    "gpt_oss": {
        **EXPERTS,
        "head_dim": 8,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    "deepseek_v3": {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 24,
        "kv_lora_rank": 8,
        "q_lora_rank": 8,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "num_key_value_heads": 4,
    },
}
"""Name -> what its config has beside `SIZES`; the name is the model type unless model_type is given."""


def small_model(family: str, **changes: Any) -> PreTrainedModel:
    """A model of the family in float32, with random biases and gains too."""
    settings = {**SIZES, **FAMILIES[family], **changes}
    config = AutoConfig.for_model(settings.pop("model_type", family), **settings)
    torch.manual_seed(3)
    model: Any = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    built: PreTrainedModel = model.float().eval()
    return built


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Path:
    """An ordinary folder, written by transformers alone."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def logits(model: PreTrainedModel, tokens: torch.Tensor, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        outputs: torch.Tensor = model(input_ids=tokens, use_cache=False, **inputs).logits
    return outputs


Edit = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
"""A change of the weights on disk."""
