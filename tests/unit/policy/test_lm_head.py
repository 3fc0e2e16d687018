"""The loss without the logits: the plain one's values and gradients, and never a tensor of N x V numbers."""

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
    """Hidden states, a head and incoming gradients; the distributions are far from uniform."""

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
        """With respect to everything trained, of a loss that weighs each token on its own."""
        loss = logp @ self.to_logp
        if through_entropy:
            loss = loss + entropy @ self.to_entropy
        trained = [self.hidden, self.weight] + [self.bias] * bias
        return list(torch.autograd.grad(loss, trained))


def plain(
    case: Case, bias: Tensor | None, temperature: float, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    logits = torch.nn.functional.linear(case.hidden, case.weight, bias).to(dtype or case.hidden.dtype)
    logprobs = (logits / temperature).log_softmax(-1)
    return logprobs.gather(1, case.target[:, None]).squeeze(1), -(logprobs.exp() * logprobs).sum(-1)


def cut(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]) -> None:
    monkeypatch.setattr(lm_head, "tile_shape", lambda count, width, device: shape)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("through_entropy", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
@pytest.mark.parametrize("shape", [(1, 7), (5, 1), (37, 101), (1000, 13), (6, 1000)])
def test_any_tiles_give_the_plain_values_and_gradients(
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int],
    temperature: float,
    bias: bool,
    through_entropy: bool,
    dtype: torch.dtype,
) -> None:
    case = Case(dtype)
    used = case.bias if bias else None
    cut(monkeypatch, shape)
    got = logp_and_entropy(
        case.hidden, case.weight, used, case.target, temperature, entropy_gradient=through_entropy
    )
    expected = plain(case, used, temperature)
    assert_close(got, expected, **EXACT[dtype])
    assert_close(
        case.gradients(*got, bias=bias, through_entropy=through_entropy),
        case.gradients(*expected, bias=bias, through_entropy=through_entropy),
        **EXACT[dtype],
    )


def test_the_gradient_is_that_of_finite_differences() -> None:
    case = Case(torch.float64, tokens=4, vocabulary=9)

    def both(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return logp_and_entropy(hidden, weight, bias, case.target, 0.8, entropy_gradient=True)

    assert torch.autograd.gradcheck(both, (case.hidden, case.weight, case.bias))


def test_entropy_carries_a_gradient_only_when_asked() -> None:
    case = Case(torch.float64)
    assert not logp_and_entropy(case.hidden, case.weight, None, case.target, 1.0)[1].requires_grad
    assert logp_and_entropy(case.hidden, case.weight, None, case.target, 1.0, entropy_gradient=True)[
        1
    ].requires_grad


@pytest.mark.parametrize("frozen", ["hidden", "weight", "bias"])
def test_what_is_frozen_gets_no_gradient(frozen: str) -> None:
    case = Case(torch.float64)
    getattr(case, frozen).requires_grad_(False)
    trained = [p for p in (case.hidden, case.weight, case.bias) if p.requires_grad]
    expected = torch.autograd.grad(plain(case, case.bias, 0.7)[0] @ case.to_logp, trained)
    logp_and_entropy(case.hidden, case.weight, case.bias, case.target, 0.7)[0].backward(case.to_logp)
    assert_close([p.grad for p in trained], list(expected), **EXACT[torch.float64])
    assert getattr(case, frozen).grad is None


def test_no_token_at_all_gives_gradients_of_zero() -> None:
    """A rank without rows must still take part, with gradients that change nothing."""
    case = Case(torch.float64, tokens=0)
    logp, entropy = logp_and_entropy(case.hidden, case.weight, case.bias, case.target, 1.0)
    assert (logp.shape, entropy.shape) == ((0,), (0,))
    logp.sum().backward()
    for parameter in (case.hidden, case.weight, case.bias):
        assert parameter.grad is not None and not parameter.grad.any()


@pytest.mark.parametrize("certain", [80.0, 3000.0])
def test_scores_far_apart_neither_overflow_nor_vanish(
    monkeypatch: pytest.MonkeyPatch, certain: float
) -> None:
    """One token has all the mass: entropy 0 and not -0.0003, logp 0 and not above it, gradients finite."""
    case = Case(torch.float32)
    with torch.no_grad():
        case.bias.zero_()[50] = certain
    cut(monkeypatch, (8, 10))
    case.target[:] = 50
    logp, entropy = logp_and_entropy(
        case.hidden, case.weight, case.bias, case.target, 1.0, entropy_gradient=True
    )
    assert bool((logp <= 0).all()) and bool((logp > -1e-6).all())
    assert bool((entropy >= 0).all()) and bool((entropy < 1e-6).all())
    for gradient in case.gradients(logp, entropy, bias=True, through_entropy=True):
        assert gradient.isfinite().all()


def test_a_constant_added_to_every_score_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """4096, and whole numbers, so that the scores are exact and a difference is ours."""
    case = Case(torch.float32)
    with torch.no_grad():
        for whole in (case.hidden, case.weight, case.bias):
            whole.copy_(whole.round())
    cut(monkeypatch, (8, 10))
    usual = logp_and_entropy(case.hidden, case.weight, case.bias, case.target, 1.0)
    lifted = logp_and_entropy(case.hidden, case.weight, case.bias + 4096, case.target, 1.0)
    assert_close(lifted[1], usual[1], rtol=1e-6, atol=1e-6)
    assert_close(lifted[0], usual[0], rtol=0, atol=5e-4)  # half a step of float32 at 4096


@pytest.mark.parametrize("through_entropy", [False, True])
def test_bfloat16_products_lose_no_more_than_the_plain_ones(
    monkeypatch: pytest.MonkeyPatch, through_entropy: bool
) -> None:
    """Against float64, on tokens that are almost certain, where p - 1 would vanish in bfloat16."""
    truth, case = Case(torch.float64, tokens=2000), Case(torch.float32, tokens=2000)
    for one in (truth, case):
        with torch.no_grad():
            one.weight /= one.weight.norm(dim=1, keepdim=True)
            one.bias *= 0.1
            one.hidden.mul_(0.3).add_(one.weight[one.target], alpha=17.0)
    certainty = plain(truth, truth.bias, 0.9)[0].detach().exp()
    assert 0.99 < float(certainty.median()) < 0.9999
    cut(monkeypatch, (16, 32))

    def found(of: Case, logp: Tensor, entropy: Tensor) -> list[Tensor]:
        return of.gradients(logp, entropy, bias=True, through_entropy=through_entropy)

    exact = found(truth, *plain(truth, truth.bias, 0.9))
    with torch.autocast("cpu", torch.bfloat16):
        usual = found(case, *plain(case, case.bias, 0.9, torch.float32))
        ours = found(
            case,
            *logp_and_entropy(
                case.hidden, case.weight, case.bias, case.target, 0.9, entropy_gradient=through_entropy
            ),
        )
    for name, mine, other, right in zip(("hidden", "weight", "bias"), ours, usual, exact, strict=True):
        lost, allowed = (float((g - right).norm() / right.norm()) for g in (mine, other))
        assert allowed > 1e-3, "these products are in bfloat16"
        assert lost <= 1.1 * allowed, name


class Largest(TorchDispatchMode):
    """The most numbers that any tensor made within has."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self.numbers = max(self.numbers, leaf.numel())
        return made


def largest(case: Case, loss: Any) -> int:
    with Largest() as seen:
        loss(case).sum().backward()
    return seen.numbers


@pytest.mark.parametrize("autocast", [False, True])
def test_memory_grows_with_the_tile_and_not_with_tokens_times_vocabulary(
    monkeypatch: pytest.MonkeyPatch, autocast: bool
) -> None:
    tokens, vocabulary = 600, 2000

    def ours(case: Case) -> Tensor:
        return sum(logp_and_entropy(case.hidden, case.weight, None, case.target, 1.0, entropy_gradient=True))

    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert largest(Case(torch.float32, tokens, vocabulary), lambda c: plain(c, None, 1.0)[0]) == (
            tokens * vocabulary
        )
        # Of a tile, until that is less than the head's own gradient.
        for shape in [(100, 500), (200, 500), (200, 1000)]:
            cut(monkeypatch, shape)
            assert largest(Case(torch.float32, tokens, vocabulary), ours) == shape[0] * shape[1]
        cut(monkeypatch, (50, 60))
        assert largest(Case(torch.float32, tokens, vocabulary), ours) == vocabulary * WIDTH
        # Twice as many tokens, and as many numbers.
        cut(monkeypatch, (100, 500))
        assert largest(Case(torch.float32, 2 * tokens, vocabulary), ours) == 100 * 500


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
