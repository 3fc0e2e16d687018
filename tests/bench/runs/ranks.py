"""A step of two ranks with a thread each, beside that of one process with two threads, verifier included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from pipelines.paths import step_log
from pipelines.plan.effort import PHASES
from tests.bench.runs.embedded import ROOT, changed, ready_to_train
from tests.bench.table import seconds, show

STEPS, PAIRS = 10, 3
KINDS = {
    "one process, two threads": ["threads=2"],
    "two ranks, a thread each": ["threads=1", "++train.ranks=2"],
}


def two_ranks(_: Path | None) -> None:
    """Train the embedded recipe both ways, in alternating pairs of runs, and compare the steps."""
    phases: dict[str, dict[str, list[float]]] = {kind: {} for kind in KINDS}
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ready_to_train(root)
        for _pair in range(PAIRS):
            pair = []
            for kind, overrides in KINDS.items():
                rows = _steps(root, overrides)
                for name in (*PHASES, "step"):
                    phases[kind].setdefault(name, []).extend(row[name] for row in rows)
                pair.append(median(row["step"] for row in rows))
                print(f"{kind}: {pair[-1]:.2f} s a step", flush=True)
            ratios.append(pair[0] / pair[1])
    one, two = phases.values()
    between = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    rows = [
        [name, seconds(one[name]), seconds(two[name]), f"{median(one[name]) / median(two[name]):.2f}"]
        for name in PHASES
    ]
    show(
        f"The embedded recipe, medians of {PAIRS} alternating pairs of runs",
        ["what", *KINDS, "times as fast"],
        [["a step", seconds(one["step"]), seconds(two["step"]), between], *rows],
    )


def _steps(root: Path, overrides: list[str]) -> list[dict[str, float]]:
    """Seconds of each phase and of all of them, of the steps between the first and the last of a run."""
    changed(root, [*overrides, f"train.steps={STEPS}", f"train.dev_every={STEPS}"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "pipelines.train", "program"], cwd=root, env=environment, check=True
    )
    rows = [json.loads(line) for line in (root / step_log("program")).read_text().splitlines()[1:-1]]
    phases = [{name: row.get(f"seconds/{name}", 0.0) for name in PHASES} for row in rows]
    return [{**spent, "step": sum(spent.values())} for spent in phases]
