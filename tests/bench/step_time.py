"""A GRPO step side by side with TRL's: the same model, rollouts, rewards, learning rate and arithmetic."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from tests.bench import ours, theirs
from tests.bench.given import ALL_MIXED, MICRO_ROWS, SOME_SILENT, Shape, load_model, on_policy, rollouts
from tests.bench.table import REPETITIONS, seconds, show


def silent_groups(folder: Path | None) -> None:
    _compare("40% failed, 30% solved, 30% mixed groups", SOME_SILENT, folder, target=3.0)


def ragged_lengths(folder: Path | None) -> None:
    _compare("every group mixed, response lengths 1:8", ALL_MIXED, folder, target=1.5)


def _compare(title: str, shape: Shape, folder: Path | None, target: float) -> None:
    model = load_model(folder)
    rows = on_policy(model, rollouts(shape, model.config.vocab_size))
    step = ours.stepper(load_model(folder), rows, MICRO_ROWS * shape.width)
    timings: list[float] = []
    norms: list[float] = []

    def our_turn() -> None:
        start = time.perf_counter()
        totals = step()
        timings.append(time.perf_counter() - start)
        norms.append(totals["grad_norm"])

    turns = theirs.Turns(our_turn)
    trl = theirs.trainer(model, rows, shape, MICRO_ROWS, 1 + REPETITIONS)
    trl.add_callback(turns)
    trl.train()
    # The first step makes the optimizer's state, on both sides.
    a, b = turns.timings[1:], timings[1:]
    ratio = median(a) / median(b)
    padded = len(rows) * shape.width
    show(
        f"GRPO step: {title}; {len(rows)} rows, {sum(row.length for row in rows)} tokens, {padded} padded",
        ["trainer", "step", "first gradient norm", "times faster", "asked"],
        [
            ["TRL", seconds(a), f"{trl.state.log_history[0]['grad_norm']:.4f}", "", ""],
            ["ours", seconds(b), f"{norms[0]:.4f}", f"{ratio:.2f}", f"{target:.1f}"],
        ],
    )
