"""`python -m tests.bench [NAME ...] [--model FOLDER]`: measures, prints, asserts nothing."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

# Before transformers and datasets are imported: nothing here is looked up on the hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from transformers.utils import logging as transformers_logging

from tests.bench import arithmetic, checkpoints, engines, lineage, memory, step_time

BENCHES: dict[str, Callable[[Path | None], None]] = {
    "silent": step_time.silent_groups,
    "ragged": step_time.ragged_lengths,
    "memory": memory.peak_memory,
    "arithmetic": arithmetic.forward_backward,
    "checkpoints": checkpoints.overhead,
    "hf": engines.hf_engine,
    "vllm": engines.vllm_engine,
    "push": engines.weight_push,
    "lineage": lineage.queries,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; default: all")
    parser.add_argument("--model", type=Path, help="transformers folder; default: SmolLM2-135M's shape")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - BENCHES.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose of {', '.join(BENCHES)}")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for name in chosen.names or BENCHES:
        BENCHES[name](chosen.model)


if __name__ == "__main__":
    main()
