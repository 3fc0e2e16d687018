"""Peak memory of a GRPO step side by side with TRL's, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.bench import ours, theirs
from tests.bench.given import ALL_MIXED, MICRO_ROWS, SOME_SILENT, Shape, load_model, rollouts
from tests.bench.table import show

SHAPES = {"some groups silent": SOME_SILENT, "every group mixed": ALL_MIXED}


def peak_memory(folder: Path | None) -> None:
    """Of two steps: the second has the optimizer's state beside the activations."""
    lines = []
    for name in SHAPES:
        loaded, peak = {}, {}
        for side in ("TRL", "ours"):
            command = [sys.executable, "-m", "tests.bench.memory", side, name, str(folder or "")]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            loaded[side], peak[side] = json.loads(done.stdout.splitlines()[-1])
        above = {side: peak[side] - loaded[side] for side in peak}
        lines += [
            [name, "TRL", _gib(loaded["TRL"]), _gib(peak["TRL"]), _gib(above["TRL"]), "", "", ""],
            [
                "",
                "ours",
                _gib(loaded["ours"]),
                _gib(peak["ours"]),
                _gib(above["ours"]),
                f"{above['ours'] / above['TRL']:.2f}",
                f"{peak['ours'] / peak['TRL']:.2f}",
                "0.60",
            ],
        ]
    columns = ["step", "trainer", "model loaded", "peak", "added", "of TRL's added", "of its peak", "asked"]
    show("Peak memory of the same step (resident set), GiB", columns, lines)


def _gib(kib: float) -> str:
    return f"{kib / 2**20:.2f}"


def _measure(side: str, shape: Shape, folder: Path | None) -> tuple[int, int]:
    """Resident KiB with the model loaded, and the most there were in two steps."""
    model = load_model(folder)
    rows = rollouts(shape, model.config.vocab_size)
    if side == "TRL":
        trl = theirs.trainer(model, rows, shape, MICRO_ROWS, 2)
        loaded = _resident("VmRSS")
        _forget_peak()
        trl.train()
    else:
        step = ours.stepper(model, rows, MICRO_ROWS * shape.width)
        loaded = _resident("VmRSS")
        _forget_peak()
        step()
        step()
    return loaded, _resident("VmHWM")


def _resident(field: str) -> int:
    """VmRSS, what is resident now, or VmHWM, the most there ever was, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def _forget_peak() -> None:
    """Start VmHWM anew (proc(5), clear_refs): loading a model may have needed more than a step does."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    _, which, name, model_folder = sys.argv
    print(json.dumps(_measure(which, SHAPES[name], Path(model_folder) if model_folder else None)))
