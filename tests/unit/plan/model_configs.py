"""The published shapes of models, as folders with a config.json and no weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

QWEN_7B: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 16384,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
"""Qwen2.5-7B; Qwen2.5-Math-7B has the same sizes, and 16,384 positions in the folder of LUFFY's authors."""
QWEN_1_5B: dict[str, Any] = {
    **QWEN_7B,
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
"""Qwen2.5-Math-1.5B with 16,384 positions, as conf/paper/settings.yaml advises."""
LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
"""Llama-3.1-8B."""
SMOLLM2_135M: dict[str, Any] = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
    "tie_word_embeddings": True,
}
"""SmolLM2-135M."""
TOTALS = {"qwen_1_5b": 1_543_714_304, "qwen_7b": 7_615_616_512, "llama_8b": 8_030_261_248}
"""Parameters of the published weights."""
PUBLISHED = {"qwen_1_5b": QWEN_1_5B, "qwen_7b": QWEN_7B, "llama_8b": LLAMA_8B}


def write_config(folder: Path, values: dict[str, Any]) -> Path:
    """A model's folder that has nothing but its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    return folder
