"""What every stage does around its work: parameters in, threads set, seconds noted, errors in one line."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from hpt_core import tables
from hpt_core.errors import CheckpointError, EngineError, InputError, TrainingError, VerifierError
from pipelines.params import Params, load_params

TIMINGS = Path("logs/timings")
"""Seconds of each stage; outside of DVC, since no two runs take the same."""


def launch(name: str, run: Callable[[Params], Mapping[str, Any]]) -> None:
    """Run a stage as a process. An error that a user can mend is printed without a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for noisy in ("httpx", "datasets", "transformers"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    if transformers := sys.modules.get("transformers"):
        transformers.utils.logging.disable_progress_bar()  # one line a weight file, in every log
    started = time.perf_counter()
    try:
        params = load_params()
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(params.threads)
        report = run(params)
    except (InputError, TrainingError, VerifierError, CheckpointError, EngineError) as error:
        logging.error("%s", error)
        sys.exit(2)
    seconds = {"seconds": time.perf_counter() - started, **report.get("seconds", {})}
    timing: dict[str, Any] = {key: round(value, 2) for key, value in seconds.items()}
    if "result" in report:
        timing["result"] = report["result"]  # the hash of what took this long
    tables.write_json(TIMINGS / f"{name}.json", timing)


def argument() -> str:
    """The one argument of a stage's command line."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m {Path(sys.argv[0]).parent.name}.{Path(sys.argv[0]).stem} NAME")
    return sys.argv[1]


def check_name(name: str, known: Collection[str]) -> None:
    """Raises InputError, with the choices, for a name that params.yaml does not have."""
    if name not in known:
        raise InputError(f"{name!r} is not known to params.yaml; choose one of {', '.join(known)}")
