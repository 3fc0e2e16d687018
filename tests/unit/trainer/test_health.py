"""A run that collapses is told from one that learns, by its own past."""

from __future__ import annotations

import logging
import math
import random
from pathlib import Path
from typing import Any

import pytest
from small_run import Sink, run_of

from hpt_core.config import HealthConfig
from hpt_core.errors import TrainingError
from hpt_core.policy.model import LoadedPolicy
from hpt_core.rollout.group import Task
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.loop import train
from hpt_core.trainer.measures import health
from hpt_core.trainer.measures.health import RULES, Watch, flags

Rows = list[dict[str, float]]

# reward/mean, entropy, grad_norm, response/length, response/truncated of a run of HPT on a small Llama, whose
# demonstrations state the answer alone: within ten steps the policy writes no steps and solves nothing.
COLLAPSED = [
    (0.1458, 0.2227, 26.03, 41.4, 0.0),
    (0.1823, 0.2262, 23.43, 41.7, 0.0),
    (0.2031, 0.2487, 22.12, 41.0, 0.0),
    (0.2344, 0.2565, 14.70, 41.6, 0.0),
    (0.2344, 0.3300, 9.52, 41.5, 0.0156),
    (0.1719, 0.3705, 9.44, 41.8, 0.0417),
    (0.0885, 0.5044, 13.38, 42.5, 0.1354),
    (0.0260, math.nan, 11.45, 42.5, 0.1667),
    (0.0208, math.nan, 10.96, 39.6, 0.2031),
    (0.0, math.nan, 6.23, 27.4, 0.1458),
    *[(0.0, math.nan, 4.0 + 0.1 * (i % 7), 11.7 + 0.05 * (i % 5), 0.0) for i in range(12)],
]


def collapsed() -> Rows:
    names = ("reward/mean", "entropy", "grad_norm", "response/length", "response/truncated")
    return [
        {name: value for name, value in zip(names, values, strict=True) if not math.isnan(value)}
        for values in COLLAPSED
    ]


def learning(steps: int, seed: int) -> Rows:
    """A run whose reward rises from 0.1 to 0.5 with the noise of 128 rollouts, and whose entropy falls."""
    draw, rows = random.Random(seed), Rows()
    for step in range(steps):
        done = step / steps
        reward = sum(draw.random() < 0.1 + 0.4 * done for _ in range(128)) / 128
        rows.append(
            {
                "reward/mean": reward,
                "entropy": (0.3 - 0.15 * done) * draw.uniform(0.8, 1.2),
                "kl/old": abs(draw.gauss(0, 1e-3)),
                "grad_norm": (1.5 - done) * math.exp(draw.gauss(0, 0.3)),
                "response/length": 32 + draw.gauss(0, 2) + 8 * done,
                "response/truncated": max(0.0, draw.gauss(0.01, 0.003)),
                "ratio/clipped": max(0.0, draw.gauss(0.02, 0.01)),
            }
        )
    return rows


def raised(rows: Rows) -> dict[str, int]:
    """Each flag with the number of steps after which it was first raised."""
    first: dict[str, int] = {}
    for step in range(1, len(rows) + 1):
        for name in flags(rows[:step], HealthConfig()):
            first.setdefault(name, step)
    return first


def test_a_collapse_is_seen_as_soon_as_there_are_two_windows() -> None:
    assert raised(collapsed())["health/reward_fell"] == 16
    assert len(flags(collapsed(), HealthConfig())) > 0, "and it stays raised"


@pytest.mark.parametrize("seed", range(4))
def test_a_run_that_learns_raises_no_flag(seed: int) -> None:
    assert raised(learning(60, seed)) == {}


@pytest.mark.parametrize(
    ("metric", "factor", "flag"),
    [
        ("reward/mean", 0.3, "reward_fell"),
        ("entropy", 0.05, "entropy_fell"),
        ("entropy", 8.0, "entropy_rose"),
        ("kl/old", 1e3, "kl_rose"),
        ("grad_norm", 12.0, "gradient_rose"),
        ("response/length", 0.1, "length_fell"),
        ("response/length", 4.0, "length_rose"),
        ("response/truncated", 90.0, "truncated_rose"),
        ("ratio/clipped", 30.0, "clipped_rose"),
    ],
)
def test_each_rule_sees_its_own_metric(metric: str, factor: float, flag: str) -> None:
    rows = learning(30, seed=5)
    for row in rows[20:]:
        row[metric] *= factor
    found = flags(rows, HealthConfig())
    assert set(found) == {f"health/{flag}"}
    # One step that is out of the range is noise, not a collapse.
    once = learning(30, seed=5)
    once[-1][metric] *= factor
    assert flags(once, HealthConfig()) == {}


def test_a_phase_without_a_metric_breaks_no_rule_of_it() -> None:
    rows = [{"grad_norm": 1.0 + 0.1 * (step % 3)} for step in range(40)]
    assert flags(rows, HealthConfig()) == {}
    assert {rule.metric for rule in RULES} > {"reward/mean", "entropy", "grad_norm"}


def test_a_warning_comes_once_and_a_stop_ends_the_run(caplog: pytest.LogCaptureFixture) -> None:
    watch, rows = Watch(HealthConfig()), collapsed()
    with caplog.at_level(logging.WARNING):
        for step, row in enumerate(rows, start=1):
            watch.check(step, row)
    assert sum("reward_fell" in record.message for record in caplog.records) == 1
    assert "step 16: reward_fell in the last 8 steps" in caplog.text and "Lower the rates" in caplog.text
    # A resumed run has read the rows before, so it warns of nothing twice and flags the same steps.
    caplog.clear()
    resumed = Watch(HealthConfig(), watch.rows[:18])
    assert resumed.check(19, rows[18]) == flags(rows[:19], HealthConfig()) and not caplog.records
    strict = Watch(HealthConfig(stop=True))
    with pytest.raises(TrainingError, match="step 16: reward_fell"):
        for step, row in enumerate(rows, start=1):
            strict.check(step, row)


def test_flags_are_in_the_record_and_a_new_phase_has_a_new_past(
    policy: LoadedPolicy, tasks: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def always(rows: Rows, config: HealthConfig) -> dict[str, float]:
        seen.append(len(rows))
        return {"health/reward_fell": 1.0} if len(rows) > 1 else {}

    monkeypatch.setattr(health, "flags", always)
    keys: dict[str, Any] = {"phases": [{"algorithm": "sft", "until": 2}, {"algorithm": "grpo"}], "mu": None}
    train(run_of(policy, tasks, "hpt", **keys), checkpoints := Checkpoints(tmp_path, "f"), Sink())
    assert seen == [1, 2, 1, 2]
    assert ["health/reward_fell" in row for row in checkpoints.metrics(4)] == [False, True, False, True]
