"""A small model of each causal family of transformers, with random weights under which mistakes show.

A configuration is the family's own default with the sizes of `SMALL`, under whatever name the family has for
them. Its layers are one of each kind that the default has: sliding and full attention, attention and a
recurrence, dense and sparse. Only what this cannot guess stands in `OVERRIDES`.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import cycle, islice
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.warm_start import build_tokenizer

TEXTS = ["State the final answer: 3 + 4 =", "3 + 4 = 7\n\\boxed{7}", "Spell this word backward: stop"]
WIDTH, INNER, HEADS, KV_HEADS, HEAD_WIDTH, POSITIONS, WINDOW = 32, 48, 4, 2, 8, 512, 8

_SIZES: tuple[tuple[int, str], ...] = (
    (WIDTH, "hidden_size d_model n_embd emb_dim embedding_size word_embed_proj_dim input_embedding_size"),
    (WIDTH, "output_embedding_size lru_width hidden_size_global"),
    (INNER, "intermediate_size ffn_dim ffn_hidden_size encoder_ffn_dim decoder_ffn_dim dim_ff dff d_inner"),
    (INNER, "intermediate_size_mlp dense_intermediate_size shared_intermediate_size expert_ffn_hidden_size"),
    (INNER, "moe_intermediate_size shared_expert_intermediate_size moe_shared_expert_intermediate_size"),
    (2, "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers"),
    (2, "num_encoder_layers num_decoder_layers"),
    (HEADS, "num_attention_heads n_head n_heads num_heads attention_heads encoder_attention_heads"),
    (HEADS, "decoder_attention_heads num_encoder_attention_heads num_decoder_attention_heads"),
    (HEADS, "swa_num_attention_heads mamba_n_heads mamba_num_heads n_mamba_heads"),
    (KV_HEADS, "num_key_value_heads num_kv_heads swa_num_key_value_heads num_query_groups"),
    (KV_HEADS, "linear_num_key_heads linear_num_value_heads linear_num_heads"),
    (HEAD_WIDTH, "head_dim dim_head d_head attention_head_size attention_head_dim kv_channels rotary_dim"),
    (HEAD_WIDTH, "v_head_dim qk_nope_head_dim qk_rope_head_dim swa_head_dim query_pre_attn_scalar"),
    (HEAD_WIDTH, "linear_key_head_dim linear_value_head_dim linear_head_dim index_head_dim"),
    (2 * WIDTH // HEADS, "mamba_d_head mamba_head_dim mamba_headdim"),
    (16, "kv_lora_rank q_lora_rank o_lora_rank router_hidden_size"),
    (4, "num_experts num_local_experts n_routed_experts moe_num_experts"),
    (2, "num_experts_per_tok num_experts_per_token moe_topk moe_k top_k_experts"),
    (1, "n_group topk_group"),
    # With fewer, many scores are exactly 0, and top-k breaks the ties by the length of the row.
    (16, "index_n_heads"),
    (POSITIONS, "max_position_embeddings n_positions n_ctx max_seq_len context_length"),
    (POSITIONS, "max_target_positions model_max_length"),
    (WINDOW, "sliding_window window_size local_attention attention_window_size attention_chunk_size"),
    (WINDOW, "sliding_window_size keep_window_size index_topk mamba_chunk_size chunk_size block_size"),
    (WINDOW, "mamba_d_state state_size ssm_state_size mamba_dt_rank time_step_rank"),
    (20, "encoder_hash_byte_group_vocab"),
)
SMALL: dict[str, Any] = {
    **{name: size for size, names in _SIZES for name in names.split()},
    "initializer_range": 0.4,
    "use_cache": True,
    "forced_eos_token_id": None,
    "is_decoder": True,  # families that are encoders by default are causal with it only
}
"""Sizes, by the names that configurations have for them."""

SPARE = 2
"""Rows of the embedding without a token, as most released models have."""

VOCABULARY = ("vocab_size", "decoder_vocab_size", "vocab_size_per_layer_input", "audio_vocab_size")

DRAFT = "a draft model, which continues the hidden states of another model"
SOUND = "its tokens are sound, and its configuration needs that of a text encoder"
KINDS = ("layer_types", "mlp_layer_types", "layers_block_type", "indexer_types")
"""Fields that list the kind of each layer."""

NOT_BUILT = {
    "gemma3n": "it needs timm, a library of image models",
    "gemma4_assistant": DRAFT,
    "gemma4_unified_assistant": DRAFT,
    "musicgen": SOUND,
    "musicgen_melody": SOUND,
}
"""Families of the mapping that are no text model of their own, with the reason."""

ROPE = {"rope_type": "default", "rope_theta": 10000.0}
MROPE = {"mrope_section": [1, 1, 2]}
OVERRIDES: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": dict.fromkeys(
            ("sliding_attention", "full_attention"), ROPE | {"mrope_section": [1, 1, 2]}
        ),
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": KV_HEADS, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"hidden_size": WIDTH, "ffn_hidden_size": INNER, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "dots1": {"n_shared_experts": 1},
    "falcon_h1": {"mamba_d_ssm": 2 * WIDTH},
    "gemma3n_text": {
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "intermediate_size": [INNER] * 4,
        "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
        "hidden_size_per_layer_input": 8,
        "laurel_rank": 8,
    },
    "gemma4_text": {
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 8,
        "global_head_dim": 2 * HEAD_WIDTH,
    },
    "gemma4_unified_text": {"global_head_dim": 2 * HEAD_WIDTH},
    "gemma4_unified_vision": {"mm_embed_dim": WIDTH, "mm_posemb_size": 16, "output_proj_dims": WIDTH},
    "gemma4_vision": {"position_embedding_size": 64},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
    },
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": {"zero_expert_num": 2},
    "mamba2": {"num_heads": HEADS, "head_dim": 2 * WIDTH // HEADS, "n_groups": 2},
    "nemotron_h": {"n_groups": 2},
    "qwen4_exp_text": {
        "indexer_n_heads": KV_HEADS,
        "indexer_kv_heads": 1,
        "indexer_head_dim": HEAD_WIDTH,
        "indexer_budget": WINDOW,
        "indexer_compress_ratio": 2,
        "ngram_vocab_size_base": 100,
        "hc_lowrank": 8,
        "split_ngram_parts": 1,
    },
    "reformer": {
        "axial_pos_embds": False,
        "attn_layers": ["local", "local"],
        "local_attn_chunk_length": WINDOW,
        "local_num_chunks_after": 0,
    },
    "xlstm": {"hidden_size": 64, "qk_dim_factor": 1.0},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "attention_hidden_size": 2 * WIDTH,
        "attention_head_dim": 2 * WIDTH // HEADS,
    },
    "zamba2": {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2},
    "zaya": {"num_experts_per_tok": 1},
}


GAIN = dict.fromkeys(
    (
        "granite_swa",
        "granitemoe",
        "granitemoeshared",
        "hrm_text",
        "jamba",
        "kimi_linear",
        "minicpm3",
        "zamba2",
    ),
    1.0,
)
"""Families that multiply rounding errors: they repeat layers, scale residuals up, or correct a state."""


def families() -> dict[str, str]:
    """model_type -> the class that AutoModelForCausalLM makes of it."""
    names = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()
    return {kind: name if isinstance(name, str) else name[0] for kind, name in sorted(names)}


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer(TEXTS)


def small_config(model_type: str) -> PreTrainedConfig:
    """The family's default configuration, made small."""
    return _small(CONFIG_MAPPING[model_type])


def _small(kind: type[PreTrainedConfig]) -> PreTrainedConfig:
    default = kind()
    fields = default.to_dict()
    chosen: dict[str, Any] = {name: value for name, value in SMALL.items() if name in fields}
    if "kv_lora_rank" in fields:  # multi-head latent attention has a key for each head
        chosen |= {name: HEADS for name in ("num_key_value_heads",) if name in fields}
    chosen |= {name: len(tokenizer()) + SPARE for name in VOCABULARY if name in fields}
    chosen |= {name: type(fields[name])(0) for name in fields if _dropout(name) and fields[name]}
    layers = {name: list(dict.fromkeys(fields[name])) for name in KINDS if isinstance(fields.get(name), list)}
    count = max([2, *map(len, layers.values())])
    chosen |= {name: count for name in ("num_hidden_layers", "num_layers", "n_layer") if name in fields}
    chosen |= {name: list(islice(cycle(kinds), count)) for name, kinds in layers.items()}
    bos = None if fields.get("bos_token_id") is None else 0  # some families allow no None
    tokens = {
        "pad_token_id": tokenizer().pad_token_id,
        "bos_token_id": bos,
        "eos_token_id": tokenizer().eos_token_id,
    }
    chosen |= {name: token for name, token in tokens.items() if name in fields}
    for name in kind.sub_configs:
        part = type(getattr(default, name))
        if issubclass(part, PreTrainedConfig):
            chosen[name] = _small(part).to_dict()
    return kind(**chosen | OVERRIDES.get(kind.model_type, {}))


def _dropout(name: str) -> bool:
    return "dropout" in name or name.endswith("pdrop") or name.endswith("layerdrop")


def build(model_type: str, seed: int = 0) -> LoadedPolicy:
    """A random model of the family, and the tokenizer of its vocabulary."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(small_config(model_type), dtype=torch.float32)
    spread(model, GAIN.get(model_type, 1.5))
    return LoadedPolicy(model.eval(), tokenizer())


@torch.no_grad()
def spread(model: PreTrainedModel, gain: float) -> None:
    """Scale the weights up: nearly uniform logits, or biases of 0, would hide a mistake.

    Norms get gains of both signs, or a model whose head is its embedding would repeat the last token.
    """
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or not parameter.is_floating_point():
            continue
        if parameter.ndim >= 2 and float(parameter.std()) > 0:
            parameter.mul_(gain * parameter.shape[-1] ** -0.5 / parameter.std())
        norm = parameter.ndim == 1 and re.search(r"norm|ln_|layer_?norm", name, re.IGNORECASE)
        parameter.add_(torch.randn_like(parameter), alpha=1.0 if norm else 0.1)
