"""Peak memory of a GRPO step side by side with TRL's, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from tests.bench import hpt_step, trl_step
from tests.bench.inputs import ALL_MIXED, GPU, MICRO_ROWS, SOME_EQUAL, Shape, load_model, rollouts
from tests.bench.table import show

CASES = {
    f"{name}, {'all' if rows == shape.rows else rows} rows at once": (shape, rows)
    for name, shape in (("some groups of equal rewards", SOME_EQUAL), ("all groups mixed", ALL_MIXED))
    # On a GPU the rows are long: TRL needs more than 139 GiB for all of them at once.
    for rows in ((MICRO_ROWS,) if GPU else (MICRO_ROWS, shape.rows))
}


def peak_memory(folder: Path | None) -> None:
    """Measure the peak of two steps: the second has the optimizer's state beside the activations."""
    lines = []
    for case in CASES:
        trl, hpt = (_in_fresh_process(side, case, folder) for side in ("TRL", "HPT"))
        sizes = [trl["peak"], hpt["peak"], trl["added"], hpt["added"]]
        ratio = hpt["added"] / trl["added"]
        lines.append([case, *(f"{kib / 2**20:.2f}" for kib in sizes), f"{ratio:.2f}"])
    columns = ["groups, rows of a forward pass", "TRL peak", "HPT peak", "TRL added", "HPT added", "ratio"]
    kind = "GPU" if GPU else "resident"
    title = f"GRPO step, peak {kind} GiB; added: beyond the loaded model; required ratio: 0.60 or less"
    show(title, columns, lines)


def _in_fresh_process(side: str, case: str, folder: Path | None) -> dict[str, int]:
    """The result of `_measure` in a fresh process."""
    command = [sys.executable, "-m", "tests.bench.memory", side, case, str(folder or "")]
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(process.stdout.splitlines()[-1])


def _measure(side: str, shape: Shape, micro_rows: int, folder: Path | None) -> dict[str, int]:
    """KiB at the peak of two steps, on the GPU if there is one, and how many of them the steps added."""
    model = load_model(folder)
    rows = rollouts(shape, model.config.vocab_size)
    if side == "TRL":
        run = trl_step.grpo_trainer(model, rows, shape, micro_rows, 2).train
    else:
        run = _twice(hpt_step.stepper(model, rows, micro_rows * shape.width))
    sum(parameter.sum() for parameter in model.parameters())  # reads the weights, which are loaded lazily
    loaded, peak = (_on_gpu if GPU else _in_memory)(run)
    return {"peak": peak, "added": peak - loaded}


def _on_gpu(run: Callable[[], object]) -> tuple[int, int]:
    """KiB of the GPU in tensors, before and at the peak of `run`."""
    loaded = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    return loaded // 1024, torch.cuda.max_memory_allocated() // 1024


def _in_memory(run: Callable[[], object]) -> tuple[int, int]:
    """KiB resident, before and at the peak of `run`."""
    loaded = _resident("VmRSS")
    # This resets VmHWM (proc(5), clear_refs), since loading a model may need more memory than a step.
    Path("/proc/self/clear_refs").write_text("5")
    run()
    return loaded, _resident("VmHWM")


def _twice(step: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        step()
        step()

    return run


def _resident(field: str) -> int:
    """VmRSS (resident now) or VmHWM (the peak since the last reset), in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


if __name__ == "__main__":
    _, measured_side, case, model_folder = sys.argv
    print(json.dumps(_measure(measured_side, *CASES[case], Path(model_folder) if model_folder else None)))
