"""Peak memory of a GRPO step side by side with TRL's, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench import ours, theirs
from tests.bench.given import ALL_MIXED, MICRO_ROWS, SOME_SILENT, Shape, load_model, rollouts
from tests.bench.table import show

CASES = {
    f"{name}, {'all' if rows == shape.rows else rows} rows at once": (shape, rows)
    for name, shape in (("some silent", SOME_SILENT), ("all mixed", ALL_MIXED))
    for rows in (MICRO_ROWS, shape.rows)
}


def peak_memory(folder: Path | None) -> None:
    """Of two steps: the second has the optimizer's state beside the activations."""
    lines = []
    for case in CASES:
        trl, our = (_apart(side, case, folder) for side in ("TRL", "ours"))
        sizes = [trl["peak"], our["peak"], trl["added"], our["added"]]
        ratio = our["added"] / trl["added"]
        lines.append([case, *(f"{kib / 2**20:.2f}" for kib in sizes), f"{ratio:.2f}"])
    columns = ["groups, rows of a forward pass", "TRL peak", "our peak", "TRL added", "we added", "ratio"]
    show("GRPO step, peak resident GiB; added: beyond the loaded model; asked: at most 0.60", columns, lines)


def _apart(side: str, case: str, folder: Path | None) -> dict[str, int]:
    """What `_measure` says in a fresh process."""
    command = [sys.executable, "-m", "tests.bench.memory", side, case, str(folder or "")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _measure(side: str, shape: Shape, micro_rows: int, folder: Path | None) -> dict[str, int]:
    """KiB resident at the peak of two steps, and how many of them came with the steps."""
    model = load_model(folder)
    rows = rollouts(shape, model.config.vocab_size)
    if side == "TRL":
        run = theirs.trainer(model, rows, shape, micro_rows, 2).train
    else:
        run = _twice(ours.stepper(model, rows, micro_rows * shape.width))
    sum(parameter.sum() for parameter in model.parameters())  # weights are read lazily
    loaded = _resident("VmRSS")
    # VmHWM starts anew (proc(5), clear_refs): loading a model may have needed more than a step does.
    Path("/proc/self/clear_refs").write_text("5")
    run()
    peak = _resident("VmHWM")
    return {"peak": peak, "added": peak - loaded}


def _twice(step: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        step()
        step()

    return run


def _resident(field: str) -> int:
    """VmRSS, what is resident now, or VmHWM, the most there ever was, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


if __name__ == "__main__":
    _, which, case, model_folder = sys.argv
    print(json.dumps(_measure(which, *CASES[case], Path(model_folder) if model_folder else None)))
