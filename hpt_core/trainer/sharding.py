"""The policy among ranks: one of them reads it, and its weights are sharded layer by layer (FSDP2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from hpt_core.errors import InputError
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.module import PolicyModule
from hpt_core.policy.weights.copies import without_weights
from hpt_core.policy.weights.host_memory import page_out
from hpt_core.trainer.ranks import Ranks

UNIT = 2**23
"""Bytes from which layers are a unit of their own. A small exchange takes as long as a larger one, and each
unit has three for each micro-batch."""


def spread(make: Callable[[], LoadedPolicy], ranks: Ranks) -> LoadedPolicy:
    """What `make` returns on the main rank; on the others, which do not call it, its model without weights.

    `shard` gives each rank its part of the weights. Until then nobody but the main rank has them.
    """
    if ranks.count == 1:
        return make()
    whole = make() if ranks.main else None

    def skeleton() -> LoadedPolicy:
        assert whole is not None
        return whole._replace(model=without_weights(whole.model))

    without = ranks.from_main(skeleton)
    return whole or without


def shard(policy_module: PolicyModule, ranks: Ranks, gathered: torch.dtype = torch.float32) -> None:
    """Shard the main rank's weights in place, so that each rank holds a part of every tensor (FSDP2).

    Unit by unit, the main rank sends the weights to the others, and each keeps its part: beside the shards no
    rank has more than one unit on its device. A unit is a layer, or several small ones (`UNIT`); the last
    one is all else, as embedding and LM head. The main rank may have its weights in host memory.

    A unit is gathered while it computes, in the type `gathered` unless that is float32. Gradients are summed
    over ranks in the weights' own type.

    Raises InputError for a model whose layers share weights, and where weights that must stay in float32
    would be gathered in another type.
    """
    if ranks.count == 1:
        return
    mixed = MixedPrecisionPolicy()
    if gathered != torch.float32:
        if kept := policy_module.model._get_dtype_plan(gathered):
            raise InputError(
                f"train.gathered_dtype: {type(policy_module.model).__name__} keeps {', '.join(kept)} in "
                "float32; set it to float32"
            )
        mixed = MixedPrecisionPolicy(param_dtype=gathered, reduce_dtype=torch.float32)
    _check_layers(policy_module)
    for unit in _units(policy_module):
        whole = _send(unit, ranks)
        fully_shard(unit, mp_policy=mixed)
        page_out(whole)
        del whole
    _send([policy_module], ranks)
    # By default the root stays gathered after its forward pass. A pass without a backward pass would then
    # keep weights that the optimizer's step makes stale.
    fully_shard(policy_module, reshard_after_forward=True, mp_policy=mixed)
    for module in policy_module.modules():
        if isinstance(module, FSDPModule):
            # The denominators in the plan are those of the whole mini-batch: FSDP2's mean over ranks
            # would divide once more.
            module.set_gradient_divide_factor(1.0)
            # FSDP2 applies the factor by a scaled sum, which gloo does not have.
            module.set_force_sum_reduction_for_comms(True)
            # A rank without demonstrations must still reduce the gradients of parameters that only
            # demonstrations train.
            module.set_reduce_scatter_unused_params(True)


def _units(policy_module: PolicyModule) -> Iterator[list[nn.Module]]:
    """Layers that are sharded together. Those at the end that do not fill a unit are left to the root."""
    unit, size = list[nn.Module](), 0
    for module in policy_module.modules():
        if _is_layer(policy_module, module):
            unit.append(module)
            size += sum(parameter.nbytes for parameter in module.parameters())
            if size >= UNIT:
                yield unit
                unit, size = [], 0


def _is_layer(policy_module: PolicyModule, module: nn.Module) -> bool:
    return type(module).__name__ in policy_module.layers


def _check_layers(policy_module: PolicyModule) -> None:
    """Raises InputError where a layer has weights of another one, or of the embedding or head."""
    layers = [
        f"{name}." for name, module in policy_module.named_modules() if _is_layer(policy_module, module)
    ]
    homes: dict[nn.Parameter, str] = {}
    for name, parameter in policy_module.named_parameters(remove_duplicate=False):
        home = next((layer for layer in layers if name.startswith(layer)), "")
        if homes.setdefault(parameter, home) != home:
            raise InputError(
                f"train.ranks: layers of {type(policy_module.model).__name__} share weights ({name}), which "
                "cannot be sharded here; set train.ranks to 1"
            )


@torch.no_grad()
def _send(unit: Sequence[nn.Module], ranks: Ranks) -> list[Tensor]:
    """Give every rank the main rank's weights of `unit`, except those that are sharded already.

    Returns what this rank had.
    """
    device = ranks.device
    own: dict[nn.Parameter, nn.Parameter] = {}
    had = list[Tensor]()
    for module in chain.from_iterable(each.modules() for each in unit):
        for name, parameter in module._parameters.items():
            if parameter is None or isinstance(parameter, DTensor):
                continue
            if parameter not in own:
                weight = parameter.detach()
                had.append(weight)
                full = weight.to(device) if ranks.main else torch.empty_like(weight, device=device)
                torch.distributed.broadcast(full, src=0)
                own[parameter] = nn.Parameter(full, parameter.requires_grad)
            # Tied weights stay tied.
            module._parameters[name] = own[parameter]
    return had
