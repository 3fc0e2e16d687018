"""avg@k and pass@k of a policy, checked against enumeration."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pytest

from hpt_core.evaluation import avg_at_k, correct_matrix, pass_at_k, pass_curve, quantiles, summarise
from hpt_core.significance import bootstrap_interval


def _row(
    prompt: str, sample: int, correct: bool, finish: str = "stop", tokens: int = 10
) -> dict[str, object]:
    return {
        "prompt_id": prompt,
        "sample": sample,
        "correct": correct,
        "finish_reason": finish,
        "n_tokens": tokens,
    }


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_pass_at_k_is_the_share_of_draws_with_a_correct_response(k: int) -> None:
    correct = np.array([[0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 1, 0, 0], [1, 1, 1, 1, 0]], dtype=bool)
    brute = [np.mean([any(draw) for draw in combinations(row, k)]) for row in correct]
    assert pass_at_k(correct, k) == pytest.approx(np.mean(brute), abs=1e-12)


@pytest.mark.parametrize("n", range(1, 10))
def test_the_curve_is_the_share_of_subsets_with_a_correct_response(n: int) -> None:
    correct = np.random.default_rng(n).random((7, n)) < np.linspace(0, 1, 7)[:, None]
    curve = pass_curve(correct, seed=0, draws=50)
    assert [point["k"] for point in curve] == [k for k in range(1, n + 1) if k in (1, 2, 4, 8, n)]
    for point in curve:
        subsets = list(combinations(range(n), point["k"]))
        correct_subsets = sum(any(row[list(subset)]) for row in correct for subset in subsets)
        assert point["pass_at_k"] == pytest.approx(
            float(Fraction(correct_subsets, 7 * len(subsets))), abs=1e-12
        )


def test_the_curve_has_one_interval_for_each_k() -> None:
    correct = np.random.default_rng(12).random((60, 8)) < np.random.default_rng(13).random((60, 1))
    curve = pass_curve(correct, seed=5, draws=500)
    assert curve[0]["pass_at_k"] == pytest.approx(avg_at_k(correct), abs=1e-12)
    assert curve[0]["ci95"] == pytest.approx(bootstrap_interval(correct.mean(1), 5, 500), abs=1e-12)
    any_correct = correct.any(1).astype(float)
    assert curve[-1]["pass_at_k"] == any_correct.mean()
    assert curve[-1]["ci95"] == list(bootstrap_interval(any_correct, 5, 500))
    for point, following in pairwise(curve):
        assert point["ci95"][0] < point["pass_at_k"] < point["ci95"][1]
        assert point["pass_at_k"] < following["pass_at_k"] and point["ci95"][0] < following["ci95"][0]


def test_a_curve_of_correct_responses_has_an_interval() -> None:
    for point in pass_curve(np.ones((30, 4), dtype=bool), 0, 100):
        assert point["pass_at_k"] == 1 and point["ci95"][0] ** 30 == pytest.approx(0.025)


def test_quantiles_are_not_interpolated() -> None:
    assert quantiles(range(1, 101)) == {"p10": 10, "p50": 50, "p90": 90, "max": 100}
    assert quantiles([7]) == {"p10": 7, "p50": 7, "p90": 7, "max": 7}
    assert quantiles([900, 1, 2, 3]) == {"p10": 1, "p50": 2, "p90": 900, "max": 900}


def test_pass_at_1_is_avg() -> None:
    correct = np.random.default_rng(0).random((40, 8)) < 0.3
    assert pass_at_k(correct, 1) == pytest.approx(avg_at_k(correct), abs=1e-12)


def test_pass_at_k_needs_k_samples() -> None:
    with pytest.raises(ValueError, match=r"pass@5 needs at least 5 samples a prompt, there are 4"):
        pass_at_k(np.ones((2, 4), dtype=bool), 5)


def test_prompts_are_resampled_not_responses() -> None:
    # Four copies of a response have no more information than one.
    once = np.random.default_rng(4).random((100, 1)) < 0.5
    rows = [_row(f"p{i:03}", s, bool(once[i, 0])) for i in range(100) for s in range(4)]
    low, high = summarise(rows, k=4, seed=5, draws=4000)["ci95"]
    assert high - low == pytest.approx(2 * 1.96 * 0.05, rel=0.1)


def test_summarise_one_benchmark() -> None:
    rows = [
        _row("b", 1, True, tokens=30),
        _row("b", 0, False, finish="length", tokens=50),
        _row("a", 0, True),
        _row("a", 1, True),
    ]
    entry = summarise(rows, k=2, seed=0, draws=100)
    contract = {"avg_at_k", "pass_at_k", "ci95", "k", "n_prompts", "truncated", "mean_length"}
    assert set(entry) == contract | {"lengths", "pass_curve"}
    assert entry["lengths"] == {"p10": 10, "p50": 10, "p90": 50, "max": 50}
    assert [(point["k"], point["pass_at_k"]) for point in entry["pass_curve"]] == [(1, 0.75), (2, 1.0)]
    assert (entry["avg_at_k"], entry["pass_at_k"]) == (0.75, 1.0)
    assert (entry["k"], entry["n_prompts"], entry["truncated"], entry["mean_length"]) == (2, 2, 0.25, 25.0)
    # The weights of the scores 0.5 and 1 and of the unseen prompt are uniform on a triangle, so that
    # P(mean <= x) is 2 x^2 for the lower limit, and 1 - (1 - 2 (1 - x))^2 for 1 - mean of the upper one.
    assert entry["ci95"] == pytest.approx([0.0125**0.5, 0.5 + 0.5 * 0.975**0.5], abs=0.003)
    assert correct_matrix(rows)[0] == ["a", "b"]
    assert correct_matrix(rows)[1].tolist() == [[True, True], [False, True]]


def test_unequal_numbers_of_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of prompt b, 2 of prompt a"):
        summarise([_row("a", 0, True), _row("a", 1, True), _row("b", 0, True)], 1, 0, 10)
    with pytest.raises(ValueError, match="sample 0 occurs twice"):
        summarise([_row("a", 0, True), _row("a", 0, True)], 1, 0, 10)
    with pytest.raises(ValueError, match="no responses"):
        summarise([], 1, 0, 10)
