"""Low-rank adapters (LoRA, arXiv 2106.09685). `model.merged_weights` has the weights with adapters added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import peft
import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from hpt_core.config import LoraConfig
from hpt_core.errors import InputError
from hpt_core.policy.merged_weights import MERGED, adapted_weight, plain_name
from hpt_core.policy.model import LoadedPolicy
from hpt_core.seeds import derive

NAME = "default"
"""peft's name of the only adapter."""


def with_lora(policy: LoadedPolicy, config: LoraConfig, seed: int) -> LoadedPolicy:
    """Add new adapters to `policy` in place: its distribution is unchanged, and only adapters are trained.

    W x becomes W x + (alpha / rank) B A x, with B = 0 at first. "all-linear" is every linear layer except the
    LM head; the stacked experts of a mixture are among them. Raises InputError if the model has no layer of a
    target name, if a target is an LM head or an embedding that share one matrix, or if its kind of layer
    cannot be merged.
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
    targets = {*(peft_config.target_modules or ()), *(peft_config.target_parameters or ())}
    _check_layers(policy.model, config, targets if isinstance(config.targets, list) else ())
    return policy


def _check_layers(model: PreTrainedModel, config: LoraConfig, targets: Collection[str]) -> None:
    """Raise InputError for a target without an adapter, and for an adapter that no saved model would have.

    `targets` are the names that peft looked for.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    uses = Counter(parameter for _, parameter in model.named_parameters(remove_duplicate=False))
    for name, layer in layers.items():
        if type(layer) not in MERGED:
            raise _refused(
                config,
                f"the adapter of {plain_name(name)} ({type(layer.get_base_layer()).__name__}) cannot be "
                "merged; name linear layers only",
            )
        if uses[adapted_weight(layer)] > 1:
            raise _refused(
                config,
                "this model's embedding and LM head share one matrix, and an adapter on one of them would "
                "break that; leave both out",
            )
    adapted = [
        ".".join(["", plain_name(name), *filter(None, [getattr(layer, "parameter_name", None)])])
        for name, layer in layers.items()
    ]
    for target in sorted(targets):
        if not any(name.endswith(f".{target}") for name in adapted):
            raise _refused(
                config,
                f"no layer is called {target}; take all-linear, or some of {_linear_names(model)}",
            )


def _refused(config: LoraConfig, reason: str) -> InputError:
    return InputError(f"train.lora.targets {config.targets}: {reason}")


def _linear_names(model: PreTrainedModel) -> str:
    names = {
        plain_name(f"{name}.weight").split(".")[-2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and ".lora_" not in name
    }
    return ", ".join(sorted(names))


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
