"""The time of a GRPO step beside TRL's, with the same model, rollouts, rewards, learning rate and dtypes."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from tests.bench import hpt_step, trl_step
from tests.bench.inputs import ALL_MIXED, MICRO_ROWS, SOME_EQUAL, Shape, load_model, on_policy, rollouts
from tests.bench.table import REPETITIONS, seconds, show


def groups_without_gradient(folder: Path | None) -> None:
    _compare("40% failed, 30% solved, 30% mixed groups", SOME_EQUAL, folder, target=3.0)


def ragged_lengths(folder: Path | None) -> None:
    _compare("every group mixed, response lengths 1:8", ALL_MIXED, folder, target=1.5)


def _compare(title: str, shape: Shape, folder: Path | None, target: float) -> None:
    model = load_model(folder)
    rows = on_policy(model, rollouts(shape, model.config.vocab_size))
    step = hpt_step.stepper(load_model(folder), rows, MICRO_ROWS * shape.width)
    hpt_timings: list[float] = []
    norms: list[float] = []

    def take_hpt_step() -> None:
        start = time.perf_counter()
        totals = step()
        hpt_timings.append(time.perf_counter() - start)
        norms.append(totals["grad_norm"])

    timer = trl_step.StepTimer(take_hpt_step)
    trl = trl_step.grpo_trainer(model, rows, shape, MICRO_ROWS, 1 + REPETITIONS)
    trl.add_callback(timer)
    trl.train()
    # The first step, which creates the optimizer's state, is not counted on either side.
    trl_timings, hpt_timings = timer.timings[1:], hpt_timings[1:]
    ratio = median(trl_timings) / median(hpt_timings)
    padded = len(rows) * shape.width
    show(
        f"GRPO step: {title}; {len(rows)} rows, {sum(row.length for row in rows)} tokens, {padded} padded",
        ["trainer", "step", "first gradient norm", "times faster", "required"],
        [
            ["TRL", seconds(trl_timings), f"{trl.state.log_history[0]['grad_norm']:.4f}", "", ""],
            ["HPT", seconds(hpt_timings), f"{norms[0]:.4f}", f"{ratio:.2f}", f"{target:.1f}"],
        ],
    )
