"""Adapters that vLLM adds to its weights while it computes; new ones are handed over in memory.

vLLM 0.32 reads adapters from a folder alone. `replace_adapters` does in a worker what its
`WorkerLoRAManager.add_adapter` does, with tensors in place of the folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from hpt_core.config import SERVED_RANKS, LoraConfig
from hpt_core.errors import InputError


def adapter_settings(config: LoraConfig, model: PreTrainedModel, dtype: torch.dtype) -> dict[str, Any]:
    """Settings of `LLM` for one set of adapters, which `model` does not have yet.

    Raises InputError where vLLM's kernels cannot add them.
    """
    if torch.cuda.is_available() and dtype == torch.float32:
        raise InputError(
            "rollout.vllm.lora: vLLM's kernels for adapters on a GPU compute in bfloat16; set rollout.dtype: "
            "bfloat16, or rollout.vllm.lora: false"
        )
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    ]
    targets = linear if config.targets == "all-linear" else config.targets
    return {
        "enable_lora": True,
        "max_loras": 1,
        "max_lora_rank": min(rank for rank in SERVED_RANKS if rank >= config.rank),
        # Other layers, such as embedding, LM head and experts, would get room for adapters as well.
        "lora_target_modules": sorted({target.rpartition(".")[2] for target in targets}),
    }


def replace_adapters(worker: Any, number: int, tensors: Mapping[str, Tensor]) -> list[str]:
    """Have vLLM's `worker` add these adapters in place of the ones before, under a `number` of their own.

    `tensors` are those of `adapter_weights`. Returns the layers that the worker's model has no place for.
    """
    from vllm.lora.lora_model import LoRAModel
    from vllm.lora.peft_helper import PEFTHelper

    manager = worker.model_runner.lora_manager
    layers = manager._adapter_manager
    renamed = getattr(layers.model, "hf_to_vllm_mapper", None)
    rank = next(tensor.shape[0] for name, tensor in tensors.items() if ".lora_A." in name)
    adapters = LoRAModel.from_lora_tensors(
        number,
        # vLLM may keep what it is given, and the trainer changes its own tensors.
        {name: tensor.clone() for name, tensor in tensors.items()},
        PEFTHelper(r=rank, lora_alpha=rank, target_modules="all-linear"),  # the scale is in B
        device=str(manager.device),
        dtype=manager.lora_config.lora_dtype,
        weights_mapper=None if renamed is None else renamed.get_rename_mapper(),
    )
    manager.remove_all_adapters()
    layers.add_adapter(adapters)
    # By now the parts of a layer that vLLM computes as one, such as q, k and v, are one.
    unknown = sorted(adapters.loras.keys() - layers.modules.keys())
    if not unknown:
        layers.activate_adapter(number)
    return unknown


def request_for(number: int) -> Any:
    """What tells vLLM to use the adapters with this number; None for 0, which is no adapters."""
    from vllm.lora.request import LoRARequest

    # The path is read where a worker has no adapters of the number, so it fails with its name.
    return LoRARequest(f"adapters {number}", number, "pushed in memory") if number else None
