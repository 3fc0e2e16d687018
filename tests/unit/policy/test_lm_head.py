"""The tiled LM head: values and gradients of the plain computation, and no tensor of N x V numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hpt_core.policy import lm_head
from hpt_core.policy.lm_head import logp_and_entropy

TOKENS, WIDTH, VOCABULARY = 37, 12, 101
EXACT = {torch.float64: {"rtol": 1e-9, "atol": 1e-13}, torch.float32: {"rtol": 2e-4, "atol": 2e-6}}


class Case:
    """Hidden states, a head, targets and incoming gradients; the distributions are far from uniform."""

    def __init__(self, dtype: torch.dtype, tokens: int = TOKENS, vocabulary: int = VOCABULARY) -> None:
        draw = torch.Generator().manual_seed(3)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype)

        self.hidden = normal(tokens, WIDTH).requires_grad_()
        self.weight = normal(vocabulary, WIDTH).requires_grad_()
        self.bias = normal(vocabulary).requires_grad_()
        self.target = torch.randint(vocabulary, (tokens,), generator=draw)
        self.to_logp, self.to_entropy = normal(tokens), normal(tokens)

    def gradients(self, logp: Tensor, entropy: Tensor, *, bias: bool, through_entropy: bool) -> list[Tensor]:
        """Gradients of a loss that weights each token differently, with respect to all trained tensors."""
        loss = logp @ self.to_logp
        if through_entropy:
            loss = loss + entropy @ self.to_entropy
        trained = [self.hidden, self.weight] + [self.bias] * bias
        return list(torch.autograd.grad(loss, trained))


def plain(
    case: Case, bias: Tensor | None, temperature: float, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """logp and entropy from the full logits."""
    logits = torch.nn.functional.linear(case.hidden, case.weight, bias).to(dtype or case.hidden.dtype)
    logprobs = (logits / temperature).log_softmax(-1)
    return logprobs.gather(1, case.target[:, None]).squeeze(1), -(logprobs.exp() * logprobs).sum(-1)


def use_tiles(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]) -> None:
    monkeypatch.setattr(lm_head, "tile_shape", lambda count, width, device: shape)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("through_entropy", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
@pytest.mark.parametrize("shape", [(1, 7), (5, 1), (37, 101), (1000, 13), (6, 1000)])
def test_tiles_of_any_shape_give_the_plain_values_and_gradients(
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int],
    temperature: float,
    bias: bool,
    through_entropy: bool,
    dtype: torch.dtype,
) -> None:
    case = Case(dtype)
    head_bias = case.bias if bias else None
    use_tiles(monkeypatch, shape)
    outputs = logp_and_entropy(
        case.hidden, case.weight, head_bias, case.target, temperature, entropy_gradient=through_entropy
    )
    expected = plain(case, head_bias, temperature)
    assert_close(outputs, expected, **EXACT[dtype])
    assert_close(
        case.gradients(*outputs, bias=bias, through_entropy=through_entropy),
        case.gradients(*expected, bias=bias, through_entropy=through_entropy),
        **EXACT[dtype],
    )


def test_the_gradient_equals_finite_differences() -> None:
    case = Case(torch.float64, tokens=4, vocabulary=9)

    def function(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return logp_and_entropy(hidden, weight, bias, case.target, 0.8, entropy_gradient=True)

    assert torch.autograd.gradcheck(function, (case.hidden, case.weight, case.bias))


def test_entropy_carries_a_gradient_only_on_request() -> None:
    case = Case(torch.float64)
    assert not logp_and_entropy(case.hidden, case.weight, None, case.target, 1.0)[1].requires_grad
    assert logp_and_entropy(case.hidden, case.weight, None, case.target, 1.0, entropy_gradient=True)[
        1
    ].requires_grad


@pytest.mark.parametrize("frozen", ["hidden", "weight", "bias"])
def test_a_frozen_tensor_gets_no_gradient(frozen: str) -> None:
    case = Case(torch.float64)
    getattr(case, frozen).requires_grad_(False)
    trained = [p for p in (case.hidden, case.weight, case.bias) if p.requires_grad]
    expected = torch.autograd.grad(plain(case, case.bias, 0.7)[0] @ case.to_logp, trained)
    logp_and_entropy(case.hidden, case.weight, case.bias, case.target, 0.7)[0].backward(case.to_logp)
    assert_close([p.grad for p in trained], list(expected), **EXACT[torch.float64])
    assert getattr(case, frozen).grad is None


def test_without_tokens_all_gradients_are_zero() -> None:
    """A rank without rows still takes part in the backward pass, with gradients of 0."""
    case = Case(torch.float64, tokens=0)
    logp, entropy = logp_and_entropy(case.hidden, case.weight, case.bias, case.target, 1.0)
    assert (logp.shape, entropy.shape) == ((0,), (0,))
    logp.sum().backward()
    for parameter in (case.hidden, case.weight, case.bias):
        assert parameter.grad is not None and not parameter.grad.any()


@pytest.mark.parametrize("score", [80.0, 3000.0])
def test_scores_far_apart_neither_overflow_nor_vanish(monkeypatch: pytest.MonkeyPatch, score: float) -> None:
    """If one token has all the mass, entropy is 0 and not less, logp is 0 and not more, gradients finite."""
    case = Case(torch.float32)
    with torch.no_grad():
        case.bias.zero_()[50] = score
    use_tiles(monkeypatch, (8, 10))
    case.target[:] = 50
    logp, entropy = logp_and_entropy(
        case.hidden, case.weight, case.bias, case.target, 1.0, entropy_gradient=True
    )
    assert bool((logp <= 0).all()) and bool((logp > -1e-6).all())
    assert bool((entropy >= 0).all()) and bool((entropy < 1e-6).all())
    for gradient in case.gradients(logp, entropy, bias=True, through_entropy=True):
        assert gradient.isfinite().all()


def test_a_constant_added_to_every_score_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 4096 and integers the scores are exact, so that any difference is an error of the tiled head."""
    case = Case(torch.float32)
    with torch.no_grad():
        for tensor in (case.hidden, case.weight, case.bias):
            tensor.copy_(tensor.round())
    use_tiles(monkeypatch, (8, 10))
    original = logp_and_entropy(case.hidden, case.weight, case.bias, case.target, 1.0)
    shifted = logp_and_entropy(case.hidden, case.weight, case.bias + 4096, case.target, 1.0)
    assert_close(shifted[1], original[1], rtol=1e-6, atol=1e-6)
    assert_close(shifted[0], original[0], rtol=0, atol=5e-4)  # half the spacing of float32 at 4096


@pytest.mark.parametrize("through_entropy", [False, True])
def test_bfloat16_products_are_as_exact_as_the_plain_ones(
    monkeypatch: pytest.MonkeyPatch, through_entropy: bool
) -> None:
    """Errors against float64, on almost certain tokens, for which p - 1 would vanish in bfloat16."""
    exact_case, case = Case(torch.float64, tokens=2000), Case(torch.float32, tokens=2000)
    for each in (exact_case, case):
        with torch.no_grad():
            each.weight /= each.weight.norm(dim=1, keepdim=True)
            each.bias *= 0.1
            each.hidden.mul_(0.3).add_(each.weight[each.target], alpha=17.0)
    probability = plain(exact_case, exact_case.bias, 0.9)[0].detach().exp()
    assert 0.99 < float(probability.median()) < 0.9999
    use_tiles(monkeypatch, (16, 32))

    def gradients(of: Case, logp: Tensor, entropy: Tensor) -> list[Tensor]:
        return of.gradients(logp, entropy, bias=True, through_entropy=through_entropy)

    exact = gradients(exact_case, *plain(exact_case, exact_case.bias, 0.9))
    with torch.autocast("cpu", torch.bfloat16):
        expected = gradients(case, *plain(case, case.bias, 0.9, torch.float32))
        tiled = gradients(
            case,
            *logp_and_entropy(
                case.hidden, case.weight, case.bias, case.target, 0.9, entropy_gradient=through_entropy
            ),
        )
    for name, *computed, truth in zip(("hidden", "weight", "bias"), tiled, expected, exact, strict=True):
        error, plain_error = (float((gradient - truth).norm() / truth.norm()) for gradient in computed)
        assert plain_error > 1e-3, "these products are in bfloat16"
        assert error <= 1.1 * plain_error, name


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that is created within the context."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(outputs):
            if isinstance(leaf, Tensor):
                self.elements = max(self.elements, leaf.numel())
        return outputs


def largest(case: Case, loss: Any) -> int:
    with LargestTensor() as recorded:
        loss(case).sum().backward()
    return recorded.elements


@pytest.mark.parametrize("autocast", [False, True])
def test_memory_grows_with_the_tile_and_not_with_the_logits(
    monkeypatch: pytest.MonkeyPatch, autocast: bool
) -> None:
    tokens, vocabulary = 600, 2000

    def tiled(case: Case) -> Tensor:
        return sum(logp_and_entropy(case.hidden, case.weight, None, case.target, 1.0, entropy_gradient=True))

    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert largest(Case(torch.float32, tokens, vocabulary), lambda c: plain(c, None, 1.0)[0]) == (
            tokens * vocabulary
        )
        # The largest tensor is a tile, unless the gradient of the head is larger.
        for shape in [(100, 500), (200, 500), (200, 1000)]:
            use_tiles(monkeypatch, shape)
            assert largest(Case(torch.float32, tokens, vocabulary), tiled) == shape[0] * shape[1]
        use_tiles(monkeypatch, (50, 60))
        assert largest(Case(torch.float32, tokens, vocabulary), tiled) == vocabulary * WIDTH
        # Twice as many tokens need no larger tensor.
        use_tiles(monkeypatch, (100, 500))
        assert largest(Case(torch.float32, 2 * tokens, vocabulary), tiled) == 100 * 500


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("width", [4, 8])
def test_tiles_hold_a_constant_number_of_bytes(device: str, width: int) -> None:
    sizes = {count: tile_bytes(count, width, device) for count in (1, 100, 5000, 10**6)}
    assert max(sizes.values()) <= (8 << 20 if device == "cpu" else 256 << 20)
    assert min(sizes.values()) > 0.99 * max(sizes.values())


def tile_bytes(count: int, width: int, device: str) -> int:
    rows, columns = lm_head.tile_shape(count, width, device)
    assert 1 <= rows <= count
    return rows * columns * width
