"""A policy as a transformers folder: load it, save it, read its weights and hash them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from hpt_core.errors import InputError

BASE_SUFFIX = ".base_layer.weight"
"""How peft ends the name of a weight that has an adapter."""


class LoadedPolicy(NamedTuple):
    """A causal language model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def load_policy(
    name: str | Path, *, revision: str | None = None, chat_template: str | None = None
) -> LoadedPolicy:
    """A causal language model in float32 and its tokenizer, from a local folder or by hub id.

    A Path is a local folder and is never looked up on the hub. The model is on the GPU if there is one.
    `chat_template` is Jinja text that replaces the tokenizer's own template.

    Raises InputError if model or tokenizer cannot be read, or if the tokenizer has no chat template.
    """
    if isinstance(name, Path) and not name.is_dir():
        raise InputError(f"{name}: no such folder; run the stage that makes it (`dvc repro`)")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(name), revision=revision)
        model = AutoModelForCausalLM.from_pretrained(str(name), revision=revision, dtype=torch.float32)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"model {str(name)!r}: cannot be loaded ({str(error).splitlines()[0]}); give a local "
            "transformers folder, or a hub id with the hub within reach (and HF_TOKEN for a gated one)"
        ) from error
    tokenizer.chat_template = chat_template or tokenizer.chat_template
    if tokenizer.chat_template is None:
        raise InputError(
            f"model {str(name)!r}: its tokenizer has no chat template; name a Jinja file in the policy's "
            "chat_template, or take the model's instruct version"
        )
    if tokenizer.eos_token_id is None:
        raise InputError(f"model {str(name)!r}: its tokenizer has no end-of-turn token (eos_token)")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return LoadedPolicy(model.to(device).eval(), tokenizer)  # type: ignore[arg-type]


def save_policy(policy: LoadedPolicy, folder: Path, *, write: bool = True) -> None:
    """Write an ordinary transformers folder; the same weights give the same bytes.

    For a sharded policy all ranks call this, and one of them with `write`.
    """
    weights: dict[str, Tensor] = {}
    for name, weight in merged_weights(policy.model):
        if write:
            weights[name] = weight.cpu()
    if write:
        folder.mkdir(parents=True, exist_ok=True)
        parameters = {name for name, _ in policy.model.named_parameters(remove_duplicate=False)}
        state = policy.model.state_dict()
        buffers = {name: tensor for name, tensor in state.items() if name not in parameters}
        policy.model.save_pretrained(folder, state_dict=buffers | weights)
        policy.tokenizer.save_pretrained(folder)


def weights_hash(model: PreTrainedModel) -> str:
    """16 hex digits that name the weights: sha256 over every parameter and its name."""
    digest = hashlib.sha256()
    for name, parameter in merged_weights(model):
        digest.update(name.encode())
        digest.update(parameter.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def full_tensor(tensor: Tensor) -> Tensor:
    """The tensor itself; a sharded one is gathered from all ranks, which must all call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def merged_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Parameters of the plain model in order of name, detached and unsharded; tied parameters come once.

    Each adapter is added to its base weight, under the base weight's name. `model` itself does not change:
    peft's merge and unmerge would leave rounding errors in the base weights. For a sharded model all ranks
    must exhaust the iterator.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    plain = {}
    for name, parameter in model.named_parameters():
        owner, _, rest = name.partition(".lora_")
        if not (rest and owner in layers):
            plain[name.replace(".base_layer.", ".")] = (parameter, layers.get(name.removesuffix(BASE_SUFFIX)))
    for name, (parameter, layer) in sorted(plain.items()):
        weight = parameter.detach()
        if layer is not None:
            (adapter,) = layer.active_adapters
            weight = (weight + layer.get_delta_weight(adapter)).to(weight.dtype)  # type: ignore[attr-defined]
        yield name, full_tensor(weight)


def stop_tokens(policy: LoadedPolicy) -> frozenset[int]:
    """Token ids that end a response: those of the tokenizer and of the generation config."""
    configured = getattr(policy.model.generation_config, "eos_token_id", None)
    token_ids = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in [policy.tokenizer.eos_token_id, *token_ids] if token is not None)
