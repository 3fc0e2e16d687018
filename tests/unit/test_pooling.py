"""Means over seeds and prompts: textbook formulas, and the coverage of the intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hpt_core.pooling import pool, pooled_difference
from hpt_core.significance import PairedDifference

WHOLE = (-1e9, 1e9)
SETTINGS = [(2, 0.0, 0.3), (2, 0.05, 0.3), (2, 0.2, 0.3), (3, 0.05, 0.3), (5, 0.1, 0.1)]
"""Number of seeds, standard deviation of the effect of a seed and of a prompt."""


def test_two_seeds_by_hand() -> None:
    # The means of the seeds are 2 and 5. Student's t over them is wider than with both effects.
    result = pool(np.array([[0.0, 3.0, 3.0], [4.0, 5.0, 6.0]]), WHOLE)
    assert result.mean == pytest.approx(3.5)
    assert result.ci95 == pytest.approx((3.5 - 12.7062047 * 1.5, 3.5 + 12.7062047 * 1.5))
    assert result.p == pytest.approx(2 * stats.t.sf(3.5 / 1.5, 1))


def test_many_seeds_by_hand() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(0.1, 0.02, (8, 1)) + rng.normal(0, 0.3, 30) + rng.normal(0, 0.2, (8, 30))
    rows, columns = values.mean(1), values.mean(0)
    residuals = values - rows[:, None] - columns + values.mean()
    ms_residual = (residuals**2).sum() / (7 * 29)
    ms_seed = max(30 * rows.var(ddof=1), ms_residual)
    ms_prompt = 8 * columns.var(ddof=1)
    total = ms_seed + ms_prompt - ms_residual
    freedom = total**2 / (ms_seed**2 / 7 + ms_prompt**2 / 29 + ms_residual**2 / (7 * 29))
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(total / 240)
    assert pool(values, WHOLE).ci95 == pytest.approx((values.mean() - reach, values.mean() + reach))


def test_seeds_with_equal_scores_leave_the_t_test_over_the_prompts() -> None:
    prompts = np.random.default_rng(0).normal(0.1, 0.3, 40)
    expected = stats.ttest_1samp(prompts, 0.0)
    result = pool(np.stack([prompts] * 3), WHOLE)
    assert result.p == pytest.approx(expected.pvalue)
    assert result.ci95 == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_many_prompts_do_not_hide_that_seeds_differ() -> None:
    # Two seeds differ on all of 1,000 prompts, and no number of prompts predicts the score of a third seed.
    noise = np.random.default_rng(1).normal(0, 0.01, (2, 1000))
    result = pool(np.array([[0.0], [0.2]]) + noise, (-1.0, 1.0))
    assert result.ci95[0] < 0 < result.ci95[1] and result.p > 0.2


@pytest.mark.parametrize(("seeds", "of_seed", "of_prompt"), SETTINGS)
def test_interval_covers_the_mean_in_95_percent_of_samples(
    seeds: int, of_seed: float, of_prompt: float
) -> None:
    rng, trials, covered = np.random.default_rng(2), 3000, 0
    for _ in range(trials):
        shape = seeds, 40
        values = rng.normal(0, of_seed, (seeds, 1)) + rng.normal(0, of_prompt, 40) + rng.normal(0, 0.3, shape)
        low, high = pool(values, WHOLE).ci95
        covered += low <= 0 <= high
    # 0.95 within three standard errors of the simulation; Satterthwaite's intervals may be too wide.
    assert covered / trials > 0.938


def test_negated_values_give_the_negated_interval() -> None:
    values = np.random.default_rng(3).uniform(-0.2, 0.5, (4, 30))
    one, other = pool(values, (-1.0, 1.0)), pool(-values, (-1.0, 1.0))
    assert (one.mean, one.p) == pytest.approx((-other.mean, other.p))
    assert one.ci95 == pytest.approx((-other.ci95[1], -other.ci95[0]))


def test_equal_values_have_an_interval_of_some_width() -> None:
    result = pool(np.ones((3, 20)), (0.0, 1.0))
    assert result.ci95 == pytest.approx((0.025 ** (1 / 20), 1.0))
    assert pool(np.zeros((3, 20)), (-1.0, 1.0)).p == 1.0


@pytest.mark.parametrize("shape", [(1, 20), (3, 1)])
def test_one_seed_or_one_prompt_cannot_be_pooled(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="two of each"):
        pool(np.zeros(shape), WHOLE)


def test_the_difference_of_two_policies_is_the_pooled_mean_of_their_differences() -> None:
    a, b = np.random.default_rng(5).uniform(0, 1, (2, 3, 40))
    expected = pool(a - b, (-1.0, 1.0))
    assert pooled_difference(a, b) == PairedDifference(expected.mean, expected.ci95, expected.p)
