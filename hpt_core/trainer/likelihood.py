"""log pi_theta of response tokens, and the entropy of the distributions they were drawn from."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hpt_core.trainer.batch import Padded


def token_likelihood(
    model: PreTrainedModel, batch: Padded, temperature: float, *, entropy_gradient: bool = False
) -> tuple[Tensor, Tensor]:
    """logp [B, T], with gradient, and entropy [B, T], in float32 whatever the logits have below it.

    `temperature` divides the logits, so that trainer and sampler mean the same distribution.
    Logits exist for response positions alone.
    """
    count = batch.mask.shape[1]
    logits = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention,
        position_ids=(batch.attention.cumsum(1) - 1).clamp(min=0),
        logits_to_keep=count + 1,  # the logits at a position speak of the next token
        use_cache=False,
    ).logits[:, :-1]
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logprobs = (wide / temperature).log_softmax(-1)
    logp = logprobs.gather(2, batch.responses[:, :, None]).squeeze(2)
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        entropy = -(logprobs.exp() * logprobs).sum(-1)
    return logp, entropy


def autocast(device: torch.device, dtype: str) -> torch.autocast:
    """The context that forward passes run in: bfloat16 arithmetic on float32 weights, or none."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16")
