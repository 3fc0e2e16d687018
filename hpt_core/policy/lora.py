"""Low-rank adapters (LoRA, arXiv 2106.09685). `model.merged_weights` has the weights with adapters added."""

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
"""peft's name of the only adapter."""


def with_lora(policy: LoadedPolicy, config: LoraConfig, seed: int) -> LoadedPolicy:
    """Add new adapters to `policy` in place: its distribution is unchanged, and only adapters are trained.

    W x becomes W x + (alpha / rank) B A x, with B = 0 at first. "all-linear" is every linear layer except the
    LM head. Raises InputError if the model has no layer of a target name, or if a target is an LM head or an
    embedding that share one matrix.
    """
    torch.manual_seed(derive(seed, "lora"))
    peft_config = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # a fraction is fine: peft scales by alpha / rank
        lora_dropout=config.dropout,
        target_modules=config.targets,
        task_type="CAUSAL_LM",
    )
    try:
        # `get_peft_model` would wrap the model; this way it stays a transformers model for all callers.
        peft.inject_adapter_in_model(peft_config, policy.model, NAME)
    except ValueError as error:
        raise InputError(f"train.lora.targets {config.targets}: {error}") from error
    ends = policy.model.get_input_embeddings(), policy.model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if policy.model.config.tie_word_embeddings and any(isinstance(end, LoraLayer) for end in ends):
        raise InputError(
            f"train.lora.targets {config.targets}: this model's embedding and LM head share one matrix, and "
            "an adapter on one of them would break that; leave both out"
        )
    return policy


def has_adapters(model: PreTrainedModel) -> bool:
    """Whether `model` has LoRA layers."""
    return any(isinstance(module, LoraLayer) for module in model.modules())


@contextmanager
def without_adapters(model: PreTrainedModel) -> Iterator[None]:
    """Disable the adapters within the context: `model` is then the policy before training."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
