"""The tiled LM head on the GPU: values and gradients of the full logits, without their memory."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.testing import assert_close

from hpt_core.policy.lm_head import logp_and_entropy

TOKENS, WIDTH, VOCABULARY = 4500, 64, 70_000
"""Several tiles in both directions: a full tile on a GPU has 4,096 rows and 16,384 columns."""


def _plain(hidden: Tensor, weight: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    logprobs = (hidden @ weight.T).log_softmax(-1)
    return logprobs.gather(1, target[:, None]).squeeze(1), -(logprobs.exp() * logprobs).sum(-1)


def _case(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator("cuda").manual_seed(3)
    hidden, weight = (
        torch.randn(size, WIDTH, generator=draw, device="cuda", dtype=dtype).mul_(0.4).requires_grad_()
        for size in (TOKENS, VOCABULARY)
    )
    return hidden, weight, torch.randint(VOCABULARY, (TOKENS,), generator=draw, device="cuda")


def test_values_and_gradients_of_the_full_logits() -> None:
    hidden, weight, target = _case(torch.float64)
    outputs = logp_and_entropy(hidden, weight, None, target, 1.0, entropy_gradient=True)
    expected = _plain(hidden, weight, target)
    assert_close(outputs, expected, rtol=1e-9, atol=1e-12)
    factor = torch.linspace(-1, 1, TOKENS, device="cuda", dtype=torch.float64)
    gradients, wanted = (
        torch.autograd.grad((logp * factor).sum() + (entropy * factor.flip(0)).sum(), (hidden, weight))
        for logp, entropy in (outputs, expected)
    )
    assert_close(gradients, wanted, rtol=1e-8, atol=1e-12)


def test_no_tensor_of_all_logits_is_made() -> None:
    hidden, weight, target = _case(torch.float32)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    logp, _ = logp_and_entropy(hidden, weight, None, target, 1.0)
    logp.sum().backward()
    added = torch.cuda.max_memory_allocated() - before
    full_logits = TOKENS * VOCABULARY * 4
    # A tile has 256 MiB, and at most three of its size live at once; plain logits need two full tensors.
    assert added < full_logits, f"{added / 2**20:.0f} MiB beside {full_logits / 2**20:.0f} MiB of logits"
