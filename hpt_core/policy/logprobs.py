"""A policy's outputs for response tokens: log pi_theta, entropy of the next-token distribution, and value."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from hpt_core.errors import InputError
from hpt_core.policy.batching import Padded
from hpt_core.policy.context_parallel import Context, Part, part_of
from hpt_core.policy.lm_head import logp_and_entropy

if TYPE_CHECKING:
    from jaxtyping import Float

log = logging.getLogger(__name__)

_ALTERED: WeakSet[nn.Module] = WeakSet()
"""Models that were found to change the logits after their LM head."""


class TokenLogprobs(NamedTuple):
    """Outputs for B rows of at most T response tokens; 0 on padding.

    The dtype is float32, or float64 for a float64 model.
    """

    logp: Float[Tensor, "B T"]
    """log pi_theta(token); carries the gradient."""
    entropy: Float[Tensor, "B T"]
    """Entropy of the next-token distribution, in nats; carries the gradient if that was requested."""
    value: Float[Tensor, "B T"] | None
    """Value at the position that predicts the token; carries the gradient. None without a value head."""


def token_logprobs(
    model: PreTrainedModel,
    batch: Padded,
    temperature: float,
    *,
    entropy_gradient: bool = False,
    value_head: nn.Linear | None = None,
    context: Context | None = None,
) -> TokenLogprobs:
    """The policy's outputs for the response tokens of `batch`; `model` may be wrapped by peft or FSDP2.

    `temperature` divides the logits, so that trainer and sampler mean the same distribution.
    `value_head` maps a last hidden state [d] to a value [1]. The ranks of a `context` share the tokens of the
    batch, and each has the outputs for all of them.

    Raises InputError with a context for a model that changes its logits after its LM head.
    """
    head: object = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    outputs = None
    request, part = _OutputRequest(temperature, entropy_gradient, value_head), part_of(batch, context)
    if isinstance(head, nn.Linear) and type(head).forward is nn.Linear.forward and model not in _ALTERED:
        outputs = _without_logits(model, head, part, request)
    if outputs is None:
        if context is not None:
            raise InputError(
                f"train.context_parallel: {type(model).__name__} changes its logits after its LM head; set "
                "it to 1"
            )
        outputs = _from_logits(model, batch, request)
    logp, entropy, *value = [
        output.new_zeros(batch.mask.shape).index_put((part.row, part.position), output) for output in outputs
    ]
    if context is not None:
        logp, entropy, *value = (context.joined(each) for each in (logp, entropy, *value))
    return TokenLogprobs(logp, entropy, value[0] if value else None)


class _OutputRequest(NamedTuple):
    """Which outputs a forward pass computes."""

    temperature: float
    entropy_gradient: bool
    value_head: nn.Linear | None


def _without_logits(
    model: PreTrainedModel, head: nn.Linear, part: Part, request: _OutputRequest
) -> Sequence[Tensor] | None:
    """logp, entropy and, if requested, value: [N] each. None if the model changes its logits after the head.

    Runs the model's own forward pass with a replaced forward of its head. So all hooks of wrappers fire on
    both modules (FSDP2 gathers the weights of a module before its forward pass and for the gradient of its
    output), and adapters, tied weights and whatever the model computes between its layers and its head
    take effect.
    """
    head_outputs: list[Tensor] = []

    def forward(hidden: Tensor) -> Tensor:
        states = _at(hidden, part.sequence, part.column)
        logp, entropy = logp_and_entropy(
            states,
            head.weight,
            head.bias,
            part.token,
            request.temperature,
            entropy_gradient=request.entropy_gradient,
        )
        value = [] if request.value_head is None else [_value(request.value_head, states).to(logp.dtype)]
        head_outputs.append(torch.stack([logp, entropy, *value], 1))
        return head_outputs[-1]

    cpu_state, cuda_states = torch.get_rng_state(), torch.cuda.get_rng_state_all()
    with _replaced(head, forward):
        logits = model(input_ids=part.input_ids, use_cache=False, **part.arguments).logits
    if head_outputs and logits is head_outputs[-1]:
        logp, entropy, *value = logits.unbind(1)
        return logp, entropy if request.entropy_gradient else entropy.detach(), *value
    # The model scales or caps its logits (Gemma 2, Granite, Cohere). Transformers declares this nowhere, so
    # one forward pass detects it.
    log.info(
        "%s changes its logits after its LM head, so the loss computes all of them at once",
        type(model).__name__,
    )
    _ALTERED.add(model)
    # The discarded forward pass drew random numbers for dropout; a resumed run must not differ by them.
    torch.set_rng_state(cpu_state)
    torch.cuda.set_rng_state_all(cuda_states)
    return None


def _from_logits(model: PreTrainedModel, batch: Padded, request: _OutputRequest) -> Sequence[Tensor]:
    """The same outputs as `_without_logits`, for any model, with the full logits in memory."""
    row, _, column = batch.tokens
    sequence = batch.sequence[row]
    length = batch.input_ids.shape[1]
    output = model(
        input_ids=batch.input_ids,
        use_cache=False,
        logits_to_keep=length - int(batch.start.min()) + 1,
        output_hidden_states=request.value_head is not None,
        **part_of(batch, None).arguments,
    )
    logits = _at(output.logits, sequence, column - 1 - (length - output.logits.shape[1]))
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logprobs = (wide / request.temperature).log_softmax(-1)
    logp = logprobs.gather(1, batch.input_ids[sequence, column][:, None]).squeeze(1)
    with torch.set_grad_enabled(request.entropy_gradient and torch.is_grad_enabled()):
        entropy = -(logprobs.exp() * logprobs).sum(-1)
    if request.value_head is None:
        return logp, entropy
    states = _at(output.hidden_states[-1], sequence, column - 1)
    return logp, entropy, _value(request.value_head, states).to(logp.dtype)


def _at(states: Tensor, sequence: Tensor, column: Tensor) -> Tensor:
    """[N, d]: the entries of `states` [S, L, d] at N pairs of sequence and column."""
    return states.flatten(0, 1).index_select(0, sequence * states.shape[1] + column)


def _value(value_head: nn.Linear, states: Tensor) -> Tensor:
    """[N] values, computed without autocast: bfloat16 has three digits, too few for most advantages."""
    with torch.autocast(states.device.type, enabled=False):
        value: Tensor = value_head(states.to(value_head.weight.dtype))
    return value.squeeze(1)


@contextmanager
def _replaced(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace the forward function of `module` within the context."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward


def checkpoint_layers(model: PreTrainedModel, *, dropout: bool = True) -> None:
    """Keep only the layers' inputs for the backward pass and recompute the rest; the gradient is the same.

    A layer recomputes in training mode alone. Without `dropout` its own forward pass is in evaluation mode.

    Raises InputError for a model class that cannot recompute.
    """
    if not model.supports_gradient_checkpointing:
        raise InputError(
            f"train.gradient_checkpointing: {type(model).__name__} cannot recompute its layers; set it to "
            "false, and lower train.microbatch_tokens if memory is short"
        )
    # The reentrant kind needs inputs that require a gradient; the outputs of frozen embeddings do not.
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for layer in model.modules() if not dropout else ():
        if isinstance(layer, GradientCheckpointingLayer):
            recompute: Any = layer._gradient_checkpointing_func
            layer._gradient_checkpointing_func = partial(_checkpoint, layer, recompute)  # type: ignore[assignment]


def _checkpoint(
    layer: nn.Module, checkpoint: Callable[..., Any], forward: Callable[..., Any], *inputs: Any
) -> Any:
    """`forward` of the layer in evaluation mode, now and where it is recomputed."""

    def evaluated(*inputs: Any) -> Any:
        layer.training = False
        try:
            return forward(*inputs)
        finally:
            layer.training = True

    return checkpoint(evaluated, *inputs)


def autocast(device: torch.device, dtype: str) -> torch.autocast:
    """The context for forward passes: bfloat16 matrix products on float32 weights, or no autocast."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16")
