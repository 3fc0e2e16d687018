"""log pi_theta of response tokens, the entropy of the distributions they were drawn from, and their value."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hpt_core.policy.batching import Padded
from hpt_core.policy.lm_head import logp_and_entropy

log = logging.getLogger(__name__)

_ALTERED: WeakSet[nn.Module] = WeakSet()
"""Models found to do something to the logits after their head."""


class TokenLogprobs(NamedTuple):
    """Of B rows of at most T response tokens, 0 where a row has none; float32, float64 for such a model."""

    logp: Tensor
    """[B, T], carries the gradient."""
    entropy: Tensor
    """[B, T], in nats; carries it where it was asked for."""
    value: Tensor | None
    """[B, T], of the position that predicts the token; carries the gradient."""


def token_logprobs(
    model: PreTrainedModel,
    batch: Padded,
    temperature: float,
    *,
    entropy_gradient: bool = False,
    value_head: nn.Linear | None = None,
) -> TokenLogprobs:
    """What the policy says of the response tokens of `batch`; `model` may be wrapped by peft or FSDP2.

    `temperature` divides the logits, so that trainer and sampler mean the same distribution.
    `value_head` maps a last hidden state [d] to a value [1].
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    found = None
    asked = _Asked(temperature, entropy_gradient, value_head)
    if type(head).forward is nn.Linear.forward and model not in _ALTERED:
        found = _without_logits(model, head, batch, asked)
    if found is None:
        found = _from_logits(model, batch, asked)
    row, number, _ = batch.tokens
    logp, entropy, *value = [
        part.new_zeros(batch.mask.shape).index_put((row, number), part) for part in found
    ]
    return TokenLogprobs(logp, entropy, value[0] if value else None)


class _Asked(NamedTuple):
    temperature: float
    entropy_gradient: bool
    value_head: nn.Linear | None


def _without_logits(
    model: PreTrainedModel, head: nn.Linear, batch: Padded, asked: _Asked
) -> Sequence[Tensor] | None:
    """logp, entropy and, if asked, value: [N] each. None for a model whose logits are not its head's.

    The model's own forward pass, in which its head does our work instead of its own. So every hook fires
    that a wrapper has hung on either (FSDP2 puts the weights of a module together before its forward pass
    and for the gradient of what comes out of it), and adapters, tied weights and whatever the model does
    between its layers and its head are in force.
    """
    row, _, column = batch.tokens
    made: list[Tensor] = []

    def forward(hidden: Tensor) -> Tensor:
        states = _at(hidden, row, column - 1)
        logp, entropy = logp_and_entropy(
            states,
            head.weight,
            head.bias,
            batch.input_ids[row, column],
            asked.temperature,
            entropy_gradient=asked.entropy_gradient,
        )
        value = [] if asked.value_head is None else [_value(asked.value_head, states).to(logp.dtype)]
        made.append(torch.stack([logp, entropy, *value], 1))
        return made[-1]

    random = torch.get_rng_state(), torch.cuda.get_rng_state_all()
    with _replaced(head, forward):
        logits = model(input_ids=batch.input_ids, use_cache=False).logits
    if made and logits is made[-1]:
        logp, entropy, *value = logits.unbind(1)
        return logp, entropy if asked.entropy_gradient else entropy.detach(), *value
    # A scale or a soft cap (Gemma 2, Granite, Cohere), which no one declares: seen by its doing, once.
    log.info("%s changes its logits after its head: the loss holds them whole", type(model).__name__)
    _ALTERED.add(model)
    # Dropout has drawn for nothing; a resumed run must not differ by that.
    torch.set_rng_state(random[0])
    torch.cuda.set_rng_state_all(random[1])
    return None


def _from_logits(model: PreTrainedModel, batch: Padded, asked: _Asked) -> Sequence[Tensor]:
    """As `_without_logits`, for every model and with all the memory it takes."""
    row, _, column = batch.tokens
    length = batch.input_ids.shape[1]
    output = model(
        input_ids=batch.input_ids,
        use_cache=False,
        logits_to_keep=length - int(batch.start.min()) + 1,
        output_hidden_states=asked.value_head is not None,
    )
    logits = _at(output.logits, row, column - 1 - (length - output.logits.shape[1]))
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logprobs = (wide / asked.temperature).log_softmax(-1)
    logp = logprobs.gather(1, batch.input_ids[row, column][:, None]).squeeze(1)
    with torch.set_grad_enabled(asked.entropy_gradient and torch.is_grad_enabled()):
        entropy = -(logprobs.exp() * logprobs).sum(-1)
    if asked.value_head is None:
        return logp, entropy
    states = _at(output.hidden_states[-1], row, column - 1)
    return logp, entropy, _value(asked.value_head, states).to(logp.dtype)


def _at(sequences: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """[N, d], the entries of `sequences` [B, L, d] at N places."""
    return sequences.flatten(0, 1).index_select(0, row * sequences.shape[1] + column)


def _value(value_head: nn.Linear, states: Tensor) -> Tensor:
    """[N]; outside of autocast, since a bfloat16's three digits would drown most advantages."""
    with torch.autocast(states.device.type, enabled=False):
        value: Tensor = value_head(states.to(value_head.weight.dtype))
    return value.squeeze(1)


@contextmanager
def _replaced(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within, `module` computes `forward`."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward


def checkpoint_layers(model: PreTrainedModel) -> None:
    """Keep only the layers' inputs in training and compute the rest again for the same gradient."""
    # Not the reentrant kind: it wants inputs that require a gradient, which frozen embeddings do not give.
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def autocast(device: torch.device, dtype: str) -> torch.autocast:
    """The context that forward passes run in: bfloat16 arithmetic on float32 weights, or none."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16")
