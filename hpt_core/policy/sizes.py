"""Sizes of a model that its family may name in its own way, or not have at all."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from hpt_core.errors import InputError
from hpt_core.policy.loading.rope import changing_length

LIMITS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
)
"""Names under which configs have the number of positions; most have or map the first."""


def positions(model: PreTrainedModel) -> int | None:
    """The longest prompt and response together, in tokens; None for a model without a limit (Mamba, BLOOM).

    With a rope that depends on the length of the text, it is the length up to which the rope stays the same.
    """
    config: Any = model.config.get_text_config()
    named = (getattr(config, name, None) for name in LIMITS)
    limits = [next((limit for limit in named if limit), None), changing_length(config)]
    return min((limit for limit in limits if limit), default=None)


def check_positions(model: PreTrainedModel, longest: int, subject: str, remedy: str) -> None:
    """Raise InputError where `longest` tokens exceed the model's positions.

    The message begins with `subject`, which has the number, and ends with `remedy`.
    """
    limit = positions(model)
    if limit is None or longest <= limit:
        return
    note = ""
    if limit == changing_length(model.config.get_text_config()):
        note = (
            " before its rope changes for the whole text (with equal short_factor and long_factor in "
            "config.json, a longrope never changes)"
        )
    raise InputError(f"{subject}, and the model has {limit} positions{note}; {remedy}")


def head_width(model: PreTrainedModel) -> int:
    """Width of the hidden states that the LM head reads."""
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    config: Any = model.config.get_text_config()
    width: int = config.hidden_size if head is None else head.weight.shape[-1]
    return width
