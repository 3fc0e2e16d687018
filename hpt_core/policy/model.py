"""A policy as a transformers folder: loading it, saving it, naming its weights."""

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

BASE = ".base_layer.weight"
"""How the name of a weight ends that an adapter stands on."""


class LoadedPolicy(NamedTuple):
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def load_policy(
    name: str | Path, *, revision: str | None = None, chat_template: str | None = None
) -> LoadedPolicy:
    """A causal language model in float32 and its tokenizer, from a local folder or by hub id.

    A Path is local and never looked up on the hub. On the GPU where there is one. `chat_template` is
    Jinja text that takes the place of the tokenizer's own.

    Raises InputError when either cannot be read, or when the tokenizer has no chat template.
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

    Of a sharded policy every rank calls this, and one of them with `write`.
    """
    kept: dict[str, Tensor] = {}
    for name, weight in whole_weights(policy.model):
        if write:
            kept[name] = weight.cpu()
    if write:
        folder.mkdir(parents=True, exist_ok=True)
        parameters = {name for name, _ in policy.model.named_parameters(remove_duplicate=False)}
        buffers = {n: b for n, b in policy.model.state_dict().items() if n not in parameters}
        policy.model.save_pretrained(folder, state_dict=buffers | kept)
        policy.tokenizer.save_pretrained(folder)


def weights_hash(model: PreTrainedModel) -> str:
    """16 hex digits that name the weights: sha256 over every parameter and its name."""
    digest = hashlib.sha256()
    for name, parameter in whole_weights(model):
        digest.update(name.encode())
        digest.update(parameter.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself; of a sharded one the shards of all ranks together, for which all must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def whole_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Parameters of the plain model in order of name, detached and whole, tied ones once.

    Adapters are added to the weights that they stand on, under those weights' names, and `model` stays as it
    is: after peft's merge and unmerge base weights would be off by rounding. Of a sharded model all ranks
    must see it through.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    plain = {}
    for name, parameter in model.named_parameters():
        owner, _, rest = name.partition(".lora_")
        if not (rest and owner in layers):
            plain[name.replace(".base_layer.", ".")] = (parameter, layers.get(name.removesuffix(BASE)))
    for name, (parameter, layer) in sorted(plain.items()):
        weight = parameter.detach()
        if layer is not None:
            (adapter,) = layer.active_adapters
            weight = (weight + layer.get_delta_weight(adapter)).to(weight.dtype)  # type: ignore[attr-defined]
        yield name, whole(weight)


def stop_tokens(policy: LoadedPolicy) -> frozenset[int]:
    """Token ids that end a response: the tokenizer's, and those of the generation config."""
    configured = getattr(policy.model.generation_config, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in [policy.tokenizer.eos_token_id, *listed] if token is not None)
