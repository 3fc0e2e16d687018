"""The sizes of a policy, counted in a model without memory that its config.json describes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from hpt_core.config import LoraConfig, Policy
from hpt_core.errors import InputError, one_line
from hpt_core.policy.loading.attention import choose_attention
from hpt_core.policy.logprobs import autocast, checkpoint_layers
from hpt_core.policy.module import PolicyModule
from hpt_core.policy.sizes import head_width, positions
from hpt_core.policy.warm_start import model_config

BYTES_OF_WARM_START = 320
"""Tokens of a policy that is built here: the bytes, and at most some sixty words and marks."""


@dataclass(frozen=True)
class Shape:
    """Numbers of weights and sizes of a policy."""

    name: str
    parameters: int
    """All of them, adapters included; tied weights count once."""
    trained: int
    """Those with a gradient and moments: all, or the adapters."""
    largest: int
    """Weights of the largest trained tensor."""
    matrices: int
    """Trained matrices of the layers, of which Muon keeps one moment."""
    layers: int
    in_layers: int
    """Weights of all layers."""
    layer: int
    """Weights of the largest layer, which FSDP2 gathers as a unit."""
    head: int
    """Weights of the LM head."""
    head_trained: bool
    products: int
    """Weights that a token is multiplied with: matrices but a lookup."""
    width: int
    vocabulary: int
    cached: int
    """Numbers that a token adds to the cache of keys and values, over all layers."""
    positions: int | None

    @property
    def root(self) -> int:
        """Weights outside of the layers: embedding, head, last norm."""
        return self.parameters - self.in_layers


def config_of(policy: Policy) -> PretrainedConfig:
    """The model's config, from its folder or from the hub; no weights are read.

    Raises InputError where it cannot be read.
    """
    if policy.warm_start is not None:
        return model_config(policy.warm_start, BYTES_OF_WARM_START)
    name = str(policy.model)
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            name, revision=policy.revision, trust_remote_code=False
        )
    # Of many kinds: no such folder, no network, no such id, a config that is no JSON or of an unknown type.
    except Exception as error:
        place = "folder" if Path(name).is_dir() else "hub id or folder"
        raise InputError(
            f"base.model {name!r}: no config.json could be read from this {place} "
            f"({one_line(error)[:160]}); give a folder with the model's config.json (of a recipe, with "
            "model=FOLDER); the plan reads no weights"
        ) from error
    return config


@contextmanager
def _model(config: PretrainedConfig, lora: LoraConfig | None) -> Iterator[PreTrainedModel]:
    """A float32 model whose tensors have sizes and no memory, with adapters where `lora` asks for them."""
    build: Any = AutoModelForCausalLM.from_config
    with torch.device("meta"), no_init_weights():
        model: PreTrainedModel = build(copy.deepcopy(config), dtype=torch.float32)
        model.tie_weights()  # which is left out with the initial values
        choose_attention(model)
        if lora is not None:
            adapters = peft.LoraConfig(r=lora.rank, target_modules=lora.targets, task_type="CAUSAL_LM")
            peft.inject_adapter_in_model(adapters, model, "default")
    with FakeTensorMode(allow_non_fake_inputs=True):
        _replace_tensors(model)
        yield model


def _replace_tensors(model: nn.Module) -> None:
    """Put tensors of the CPU, without memory, for those of the device meta, which autocast does not know."""
    replaced: dict[nn.Parameter, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter not in replaced:  # tied weights stay tied
                data = torch.empty(parameter.shape, dtype=parameter.dtype, device="cpu")
                replaced[parameter] = nn.Parameter(data, parameter.requires_grad)
            module.register_parameter(name, replaced[parameter])
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype, device="cpu"))


def shape_of(config: PretrainedConfig, name: str, lora: LoraConfig | None = None) -> Shape:
    """The sizes of the model. Raises InputError for a config that is none of a causal language model."""
    try:
        with _model(config, lora) as model:
            return _counted(model, name)
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"base.model {name!r}: {one_line(error)[:200]}; give a causal language model"
        ) from error


def _counted(model: PreTrainedModel, name: str) -> Shape:
    kinds = model._no_split_modules or ()
    layers = [module for module in model.modules() if type(module).__name__ in kinds]
    sizes = [sum(p.numel() for p in layer.parameters()) for layer in layers]
    trained = [p for p in model.parameters() if p.requires_grad]
    of_layers = {p for layer in layers for p in layer.parameters()}
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    lookup = 0 if head.weight is embedding.weight else embedding.weight.numel()
    config: Any = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(
        name=name,
        parameters=sum(p.numel() for p in model.parameters()),
        trained=sum(p.numel() for p in trained),
        largest=max(p.numel() for p in trained),
        matrices=sum(p.numel() for p in trained if p.ndim == 2 and p in of_layers),
        layers=len(layers),
        in_layers=sum(sizes),
        layer=max(sizes),
        head=head.weight.numel(),
        head_trained=head.weight.requires_grad,
        products=sum(p.numel() for p in model.parameters() if p.ndim == 2) - lookup,
        width=head_width(model),
        vocabulary=head.weight.shape[0],
        cached=2 * config.num_hidden_layers * heads * size,
        positions=positions(model),
    )


def kept_for_backward(
    config: PretrainedConfig,
    lora: LoraConfig | None,
    sequences: int,
    length: int,
    dtype: str,
    *,
    gathered: int = 4,
    checkpointing: bool,
) -> int:
    """Bytes that the layers keep between forward and backward pass of `sequences` x `length` tokens.

    Counted by torch's hooks on saved tensors in a pass without memory through the whole model, so that it
    holds for every family. Weights and their copies in bfloat16 are not among them. `dtype` is that of
    autocast, `gathered` the bytes of a weight: what passes between layers has the weights' type.
    """
    kept: dict[int, torch.UntypedStorage] = {}
    device = torch.device("cpu")
    with _model(config, lora) as model:
        policy_module = PolicyModule(model)
        if checkpointing:
            checkpoint_layers(model, dropout=False)
        policy_module.train()
        for parameter in model.parameters() if gathered == 2 else ():
            parameter.data = parameter.data.bfloat16()
        weights = {p.untyped_storage()._cdata for p in model.parameters()}
        shapes = {tuple(sorted(p.shape)) for p in model.parameters() if p.ndim == 2}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in weights and tuple(sorted(tensor.shape)) not in shapes:
                kept[storage._cdata] = storage
            return tensor

        body: Any = model.get_decoder()  # type: ignore[no-untyped-call]
        tokens = torch.zeros((sequences, length), dtype=torch.int64)
        with saved_tensors_hooks(note, lambda tensor: tensor), autocast(device, dtype):
            body(input_ids=tokens, use_cache=False)
        return sum(storage.nbytes() for storage in kept.values())
