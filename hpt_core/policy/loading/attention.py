"""Which attention a model is run with: PyTorch's fast kernel only where it computes what the model means.

`scaled_dot_product_attention` knows neither a cap on the scores (Gemma 2, VaultGemma) nor sinks (gpt-oss),
and transformers drops the arguments that it does not know. Families with sinks declare it (`_supports_sdpa`
is False there); a softcap is declared nowhere.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from transformers import PreTrainedModel

log = logging.getLogger(__name__)


def choose_attention(model: PreTrainedModel) -> None:
    """Set the plain (`eager`) attention where PyTorch's kernel would leave out a part of the scores."""
    if model.config._attn_implementation == "sdpa" and score_cap(model) is not None:
        log.info("%s caps its attention scores, so it runs with eager attention", type(model).__name__)
        model.set_attn_implementation("eager")


def score_cap(model: PreTrainedModel) -> float | None:
    """The cap on the attention scores that the config sets."""
    settings: dict[str, Any] = model.config.get_text_config().to_dict()
    caps = (value for key, value in settings.items() if "attn" in key and "softcap" in key)
    return next((cap for cap in caps if cap), None)


@torch.no_grad()
def attention_difference(model: PreTrainedModel, tokens: torch.Tensor) -> float:
    """Largest difference of log pi of `tokens` [B, T] from that with eager attention, in nats."""
    chosen = model.config._attn_implementation

    def logp(implementation: str) -> torch.Tensor:
        model.set_attn_implementation(implementation)
        logits: torch.Tensor = model(input_ids=tokens, use_cache=False).logits[:, :-1]
        return logits.float().log_softmax(-1).gather(2, tokens[:, 1:, None])

    try:
        return float((logp(chosen) - logp("eager")).abs().max())
    finally:
        model.set_attn_implementation(chosen)
