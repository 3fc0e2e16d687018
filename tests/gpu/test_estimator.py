"""The estimator on the GPU: the gradient of every method is the one that the CPU computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest
import torch
from parity.conftest import ragged_batch, with_leaf
from torch import Tensor
from torch.testing import assert_close

from hpt_core import upge
from hpt_core.types import Tokens


def moved(batch: Tokens, move: Callable[[Tensor], Tensor]) -> Tokens:
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return with_leaf(Tokens(**{name: None if v is None else move(v) for name, v in values.items()}))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", upge.ALGORITHMS)
def test_the_gradient_is_the_cpus(name: str, seed: int) -> None:
    batch = ragged_batch(seed, old_demonstrations=True)
    here, there = with_leaf(batch), moved(batch, lambda tensor: tensor.cuda())
    expected, computed = (
        torch.autograd.grad(upge.loss(name, tokens, length=16), tokens.logp)[0] for tokens in (here, there)
    )
    assert expected.any() and computed.is_cuda
    assert_close(computed.cpu(), expected, rtol=1e-9, atol=1e-15)
