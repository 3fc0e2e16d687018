"""Low-rank adapters (LoRA, arXiv 2106.09685). `model.merged_weights` has the weights with adapters added."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import peft
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from hpt_core.config import LoraConfig
from hpt_core.errors import InputError
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.weights.merged import MERGED, adapted_weight, plain_name
from hpt_core.seeds import derive

NAME = "default"
"""peft's name of the only adapter."""


def with_lora(policy: LoadedPolicy, config: LoraConfig, seed: int) -> LoadedPolicy:
    """Add new adapters to `policy` in place: its distribution is unchanged, and only adapters are trained.

    W x becomes W x + (alpha / rank) B A x, with B = 0 at first. "all-linear" is every linear layer that an
    adapter can reach, except the LM head; the stacked experts of a mixture are among them.

    Raises InputError if the model has no layer of a target name, if an adapter on it would not act or could
    not be merged, or if a target is an LM head or an embedding that share one matrix.
    """
    unreached = _unreached_linears(policy.model)
    if isinstance(config.targets, list):
        _check_reached(config, unreached)
    torch.manual_seed(derive(seed, "lora"))
    peft_config = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # a fraction is fine: peft scales by alpha / rank
        lora_dropout=config.dropout,
        target_modules=config.targets,
        exclude_modules=unreached or None,
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
                f"{plain_name(name)} and another layer share one matrix, as embedding and LM head do, and an "
                "adapter on one of them would break that; leave both out",
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


@torch.no_grad()
def _unreached_linears(model: PreTrainedModel) -> list[str]:
    """Names of the linear layers whose adapter would not act, found in one forward pass.

    Some models read the weight of a layer and never call it (Jamba's dt_proj, LongCat's classifier): the
    adapter would be merged without having been part of the trained model. Some routers return a tuple.
    """
    kinds = {
        name: re.sub(r"\.\d+", ".N", name)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }
    reached = set()

    def note(kind: str) -> Callable[[nn.Module, object, object], None]:
        return lambda _module, _inputs, output: reached.add(kind) if isinstance(output, Tensor) else None

    hooks = [model.get_submodule(name).register_forward_hook(note(kind)) for name, kind in kinds.items()]
    embedding: Any = model.get_input_embeddings()
    tokens = torch.arange(5, 17, device=model.device).remainder(len(embedding.weight))
    training = model.training
    model.eval()  # type: ignore[no-untyped-call]
    try:
        model(input_ids=tokens[None], use_cache=False)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    # An expert that no token was sent to is reached if another expert of its layer's kind is.
    return [name for name, kind in kinds.items() if kind not in reached]


def _check_reached(config: LoraConfig, unreached: Sequence[str]) -> None:
    for name in unreached:
        if any(name == target or name.endswith(f".{target}") for target in config.targets):
            raise _refused(
                config,
                f"an adapter on {name} would not act, because the model reads its weight in another way; "
                "leave it out, or take all-linear",
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
