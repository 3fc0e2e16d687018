"""Low-rank adapters (LoRA, arXiv 2106.09685). The weights that they amount to: `model.whole_weights`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import peft
import torch
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

from hpt_core.config import LoraConfig
from hpt_core.errors import InputError
from hpt_core.policy.model import LoadedPolicy
from hpt_core.seeds import derive

NAME = "default"
"""Of the one adapter, as peft has it."""


def with_lora(policy: LoadedPolicy, config: LoraConfig, seed: int) -> LoadedPolicy:
    """`policy` with fresh adapters, in place: the same distribution, and nothing else is trained.

    W x becomes W x + (alpha / rank) B A x, with B = 0 at first. "all-linear" is every linear layer but the
    LM head. Raises InputError for targets that the model does not have, or cannot be told apart in it.
    """
    torch.manual_seed(derive(seed, "lora"))
    wanted = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # it scales by alpha / rank, whole or not
        lora_dropout=config.dropout,
        target_modules=config.targets,
        task_type="CAUSAL_LM",
    )
    try:
        # Not `get_peft_model`: the model stays a transformers model, for all that expects one.
        peft.inject_adapter_in_model(wanted, policy.model, NAME)
    except ValueError as error:
        raise InputError(f"train.lora.targets {config.targets}: {error}") from error
    ends = policy.model.get_input_embeddings(), policy.model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if policy.model.config.tie_word_embeddings and any(isinstance(end, LoraLayer) for end in ends):
        raise InputError(
            f"train.lora.targets {config.targets}: this model's embedding and LM head are one matrix, which "
            "no longer holds with an adapter on either; leave them out"
        )
    return policy


def has_adapters(model: PreTrainedModel) -> bool:
    return any(isinstance(module, LoraLayer) for module in model.modules())


@contextmanager
def without_adapters(model: PreTrainedModel) -> Iterator[None]:
    """Within, `model` is what its adapters stand on: the policy before training."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
