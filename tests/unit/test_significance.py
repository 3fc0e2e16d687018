"""Intervals and p values, checked against enumeration, known distributions and worked examples."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from hpt_core import significance
from hpt_core.significance import bootstrap_interval, holm, paired_difference, sign_flip_p


@pytest.mark.parametrize("prompts", [30, 100, 359])
def test_the_interval_of_right_and_wrong_prompts_is_the_binomial_one(prompts: int) -> None:
    solved = np.arange(prompts + 1)
    lower = stats.beta.ppf(0.025, solved[1:], prompts - solved[1:] + 1)
    for count in (1, prompts // 20, prompts // 3, prompts - 2):
        low, high = bootstrap_interval((np.arange(prompts) < count).astype(float), 0, 100)
        expected = lower[count - 1], 1 - lower[prompts - count - 1]
        assert (low, high) == pytest.approx(expected, abs=0.03 * (high - low))


SPREADS = [(4, 0.5), (4, 8.0), (32, 0.5), (32, 2.0), (32, 1e6)]
"""Samples of a prompt, and alpha + beta of the distribution of pass rates (large: all prompts have one)."""


@pytest.mark.parametrize(("samples", "concentration"), SPREADS)
@pytest.mark.parametrize("accuracy", [0.05, 0.3, 0.5, 0.95])
def test_the_interval_of_30_prompts_covers_the_accuracy(
    samples: int, concentration: float, accuracy: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(significance, "DRAWS", 1000)
    rng, trials, covered, widths = np.random.default_rng(1), 400, 0, []
    for trial in range(trials):
        rates = rng.beta(accuracy * concentration, (1 - accuracy) * concentration, 30)
        low, high = bootstrap_interval(rng.binomial(samples, rates) / samples, trial, 1000)
        covered += low <= accuracy <= high
        widths.append(high - low)
    assert covered / trials >= 0.95
    # Never wider than the interval of 30 single responses, which know least.
    alone = bootstrap_interval((np.arange(30) < round(30 * accuracy)).astype(float), 0, 1000)
    assert np.mean(widths) < 1.05 * (alone[1] - alone[0])


@pytest.mark.parametrize(("prompts", "samples"), [(30, 1), (30, 4), (30, 32), (100, 4)])
@pytest.mark.parametrize("gained", [0.0, 0.2])
def test_the_interval_of_a_difference_covers_it(
    prompts: int, samples: int, gained: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Most prompts are hard for both policies, and one of them solves some prompts surely, so that few decide.
    monkeypatch.setattr(significance, "DRAWS", 1000)
    rng, trials, covered = np.random.default_rng(2), 400, 0
    for trial in range(trials):
        rates = rng.beta(0.3, 2, prompts)
        better = np.where(rng.random(prompts) < gained, 1.0, rates)
        a, b = (rng.binomial(samples, of_policy) / samples for of_policy in (better, rates))
        low, high = paired_difference(a, b, trial, 1000).interval
        covered += low <= gained * (1 - 0.3 / 2.3) <= high
    assert covered / trials >= 0.95


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


@pytest.mark.parametrize("samples", [1, 3, 4, 32])
def test_sign_flips_of_shares_are_counted_to_the_last(samples: int) -> None:
    differences = np.random.default_rng(6).integers(-samples, samples + 1, size=14) / samples
    differences[differences == 0] = 1 / samples
    sums = [abs(np.dot(signs, differences)) for signs in product((1, -1), repeat=14)]
    exact = np.mean(np.array(sums) >= abs(differences.sum()) - 1e-9)
    assert sign_flip_p(differences, seed=7, draws=1) == pytest.approx(exact, rel=1e-9)


def test_drawn_sign_flips_agree_with_all_of_them() -> None:
    differences = np.random.default_rng(6).normal(0.3, 1, size=14)  # No fractions of one denominator.
    sums = [abs(np.dot(signs, differences)) for signs in product((1, -1), repeat=14)]
    exact = np.mean(np.array(sums) >= abs(differences.sum()) - 1e-9)
    assert sign_flip_p(differences, seed=7, draws=40_000) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize(("wins", "losses", "detected"), [(4, 0, False), (5, 0, False), (6, 0, True)])
def test_interval_and_p_agree_on_few_differing_prompts(wins: int, losses: int, detected: bool) -> None:
    # 2 / 2^wins is the p of a sign test; it is below 0.05 from six wins on.
    a, b = (np.arange(359) < wins).astype(float), (np.arange(359) >= 359 - losses).astype(float)
    result = paired_difference(a, b, 0, 2000)
    assert result.p == pytest.approx(2 / 2**wins)
    assert (result.interval[0] > 0) is detected
    assert result.detected(result.p) is detected


def test_p_and_interval_are_about_the_null() -> None:
    a, b = np.full(40, 0.5), np.r_[np.full(20, 0.25), np.full(20, 0.5)]
    result = paired_difference(a, b, 0, 2000, null=0.125)
    assert result.difference == 0.125 and result.p == 1 and not result.detected(result.p)
    assert result.detected(0.01, level=0.02) is False  # The interval includes 0.125.
    assert paired_difference(a, b, 0, 2000).p == pytest.approx(2.0**-19)


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
