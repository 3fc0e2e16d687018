"""What vLLM's `reload_weights` leaves undone: functions that its worker runs around it.

vLLM 0.32 reloads a layer on memory that has no storage ("meta"), and packs it for its kernels when the last
weight has come through a weight loader.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

WRITES_WEIGHTS_ITSELF = ("GptOssForCausalLM",)
"""Classes of vLLM whose `load_weights` writes experts and sinks without a weight loader: into no storage."""


def before_reload(worker: Any) -> None:
    """On a CPU, have the experts packed as the first loading did.

    They are packed only while their kernel does not exist yet. Otherwise unpacked weights would be read as
    packed ones.
    """
    for method in _expert_methods(worker.get_model()).values():
        method.moe_kernel = None


def after_reload(worker: Any, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Load the `weights` that were written into no storage, and pack an LM head that is the embedding."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    model = worker.get_model()
    if type(model).__name__ in WRITES_WEIGHTS_ITSELF:
        model.load_weights(
            (name, weight) for name, weight in weights if ".experts." in name or name.endswith(".sinks")
        )
        for module, method in _expert_methods(model).items():
            method.process_weights_after_loading(module)
    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            # On a CPU it multiplies by a packed copy of the weight, which is not updated.
            module.quant_method.process_weights_after_loading(module)


def _expert_methods(model: Any) -> dict[Any, Any]:
    """The modules that hold experts, with the object that packs and runs them."""
    methods = {module: getattr(module, "quant_method", None) for module in model.modules()}
    return {module: method for module, method in methods.items() if hasattr(method, "moe_kernel")}
