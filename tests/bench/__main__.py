"""`python -m tests.bench [NAME ...] [--model FOLDER]`: measure and print; the benches assert nothing."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

# Set before transformers and datasets are imported, so that they look nothing up on the hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from transformers.utils import logging as transformers_logging

BENCHES = {
    "equal": "step_time.groups_without_gradient",
    "ragged": "step_time.ragged_lengths",
    "memory": "memory.peak_memory",
    "arithmetic": "arithmetic.forward_backward",
    "checkpoints": "runs.checkpoints.overhead",
    "overlap": "runs.overlap.separate_sampler",
    "start": "runs.start.engine_start",
    "ranks": "runs.ranks.two_ranks",
    "steps": "runs.hundred_steps.hundred_steps",
    "hf": "engines.hf_engine",
    "gpu": "sampling.gpu_engine",
    "vllm": "engines.vllm_engine",
    "push": "engines.weight_push",
    "lineage": "lineage.queries",
    "nights": "nights.history",
    "stack": "storage.stack",
}
"""Name -> module and function, imported when it is run: each bench needs only its own packages."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHES)}; default: all")
    default = "random weights in the shape of SmolLM2-135M, or on a GPU of Qwen2.5-1.5B"
    parser.add_argument("--model", type=Path, help=f"transformers folder; default: {default}")
    options = parser.parse_args()
    if unknown := set(options.names) - BENCHES.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(BENCHES)}")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for name in options.names or BENCHES:
        bench_of(name)(options.model)


def bench_of(name: str) -> Callable[[Path | None], None]:
    module, _, function = BENCHES[name].rpartition(".")
    bench: Callable[[Path | None], None] = getattr(import_module(f"tests.bench.{module}"), function)
    return bench


if __name__ == "__main__":
    main()
