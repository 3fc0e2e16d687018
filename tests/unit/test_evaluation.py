"""The statistics of evaluation, checked against enumeration, known distributions and worked examples."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise, product

import numpy as np
import pytest

from hpt_core.evaluation import (
    avg_at_k,
    bootstrap_interval,
    correct_matrix,
    holm,
    paired_difference,
    pass_at_k,
    pass_curve,
    quantiles,
    sign_flip_p,
    summarise,
)


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


def test_the_curve_has_one_interval_for_each_k_over_the_same_prompts() -> None:
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


def test_the_interval_covers_the_mean_in_95_percent_of_samples() -> None:
    rng = np.random.default_rng(1)
    covered = []
    for trial in range(400):
        ability = rng.beta(2, 3, size=80)
        scores = rng.binomial(4, ability) / 4
        low, high = bootstrap_interval(scores, seed=trial, draws=400)
        covered.append(low <= 0.4 <= high)
    assert 0.91 <= np.mean(covered) <= 0.98


def test_the_interval_has_the_width_of_the_normal_one() -> None:
    values = np.random.default_rng(2).normal(0.5, 0.1, size=400)
    low, high = bootstrap_interval(values, seed=3, draws=8000)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_prompts_are_resampled_not_responses() -> None:
    # Four copies of a response have no more information than one.
    once = np.random.default_rng(4).random((100, 1)) < 0.5
    rows = [_row(f"p{i:03}", s, bool(once[i, 0])) for i in range(100) for s in range(4)]
    low, high = summarise(rows, k=4, seed=5, draws=4000)["ci95"]
    assert high - low == pytest.approx(2 * 1.96 * 0.05, rel=0.1)


def test_equal_values_have_an_interval_of_some_width() -> None:
    low, high = bootstrap_interval(np.zeros(30), seed=0, draws=100)
    assert low == 0
    assert (1 - high) ** 30 == pytest.approx(0.025)  # a true accuracy of `high` is missed 2.5% of the time
    low, high = bootstrap_interval(np.ones(30), seed=0, draws=100)
    assert high == 1
    assert low**30 == pytest.approx(0.025)


def test_no_difference_on_any_prompt_has_an_interval_of_some_width() -> None:
    same = paired_difference(np.array([0.0, 1.0, 0.5] * 10), np.array([0.0, 1.0, 0.5] * 10), 0, 100)
    assert same.difference == 0 and same.p == 1
    assert same.interval[0] == pytest.approx(-same.interval[1]) and same.interval[1] > 0.1


def test_sign_flip_p_by_hand() -> None:
    # Sums of (+-3 +-2 +-1): |sum| = 6 in 2 of 8; |sum| >= 4 in 4 of 8.
    assert sign_flip_p(np.array([0.3, 0.2, 0.1]), 0, 1) == 2 / 8
    assert sign_flip_p(np.array([0.3, 0.2, -0.1]), 0, 1) == 4 / 8
    assert sign_flip_p(np.array([0.3, 0.0, 0.2, 0.0, -0.1]), 0, 1) == 4 / 8


def test_drawn_sign_flips_agree_with_all_of_them() -> None:
    differences = np.random.default_rng(6).integers(-2, 4, size=14) / 4
    differences[differences == 0] = 0.25
    sums = [abs(np.dot(signs, differences)) for signs in product((1, -1), repeat=14)]
    exact = np.mean(np.array(sums) >= abs(differences.sum()) - 1e-9)
    assert sign_flip_p(differences, seed=7, draws=40_000) == pytest.approx(exact, abs=0.01)


def test_p_is_uniform_without_a_difference() -> None:
    rng = np.random.default_rng(8)
    p = [sign_flip_p(rng.normal(size=30), seed=trial, draws=200) for trial in range(400)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.025)
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.075)


def test_the_pairing_removes_the_spread_between_prompts() -> None:
    rng = np.random.default_rng(9)
    hard = (rng.random(200) < 0.5).astype(float)
    better = np.clip(hard + (rng.random(200) < 0.2), 0, 1)
    result = paired_difference(better, hard, seed=10, draws=2000)
    assert result.difference == pytest.approx(better.mean() - hard.mean())
    assert 0 < result.interval[0] < result.difference < result.interval[1]
    # Unpaired, the interval would be 4 x sqrt(0.25 / 200 x 2) = 0.2 wide.
    assert result.interval[1] - result.interval[0] < 0.1
    assert result.p < 0.001
    assert paired_difference(hard, better, seed=10, draws=2000).difference == -result.difference


def test_same_seed_same_numbers() -> None:
    a, b = np.random.default_rng(11).random((2, 50))
    assert paired_difference(a, b, 1, 500) == paired_difference(a, b, 1, 500)
    assert paired_difference(a, b, 1, 500).interval != paired_difference(a, b, 2, 500).interval


def test_holm_worked_example() -> None:
    # 4 x 0.005, 3 x 0.01, 2 x 0.03; the last may not be below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


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
    assert entry["ci95"] == [0.5, 1.0]
    assert correct_matrix(rows)[0] == ["a", "b"]
    assert correct_matrix(rows)[1].tolist() == [[True, True], [False, True]]


def test_unequal_numbers_of_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of prompt b, 2 of prompt a"):
        summarise([_row("a", 0, True), _row("a", 1, True), _row("b", 0, True)], 1, 0, 10)
    with pytest.raises(ValueError, match="sample 0 occurs twice"):
        summarise([_row("a", 0, True), _row("a", 0, True)], 1, 0, 10)
    with pytest.raises(ValueError, match="no responses"):
        summarise([], 1, 0, 10)
