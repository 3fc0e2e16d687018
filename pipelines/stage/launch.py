"""The process of a stage: it reads the parameters, sets the threads, runs the stage and writes its timing."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypedDict

from hpt_core.errors import REPORTED_ERRORS, InputError, storage_fault
from hpt_core.files import write_json
from pipelines import messages, paths
from pipelines.params import Params, load_params


class StageReport(TypedDict, total=False):
    """What a stage reports of its run, for logs/timings."""

    seconds: dict[str, float]
    """Part of the run -> its duration."""
    result: str
    """Hash of the outputs."""


def launch(name: str, run: Callable[[Params], StageReport | None]) -> None:
    """Run a stage as a process. An error that a user can correct is printed without a traceback."""
    messages.install()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for library in ("httpx", "httpx2", "openai", "datasets", "transformers"):
        logging.getLogger(library).setLevel(logging.ERROR)
    if transformers := sys.modules.get("transformers"):
        # Its progress bars print a line for each weight file into every log.
        transformers.utils.logging.disable_progress_bar()
    started = time.perf_counter()
    try:
        params = load_params()
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(params.threads)
        report = run(params) or StageReport()
    except REPORTED_ERRORS as error:
        logging.error("%s", error)
        sys.exit(2)
    except Exception as error:
        if (fault := storage_fault(error)) is None:
            raise
        logging.error("%s", fault)
        sys.exit(1)
    # Timings are not a DVC output, because no two runs take the same time.
    seconds = {"seconds": time.perf_counter() - started, **report.get("seconds", {})}
    timing: dict[str, float | str] = {key: round(value, 2) for key, value in seconds.items()}
    if "result" in report:
        timing["result"] = report["result"]  # The hash of the outputs that took this long.
    write_json(paths.timing(name), timing)


def argument() -> str:
    """The one argument of a stage's command line: NAME, or STAGE@NAME.

    dvc.yaml passes DVC_STAGE, which DVC sets to STAGE@NAME: a shell would interpret a name from params.yaml.
    """
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m {Path(sys.argv[0]).parent.name}.{Path(sys.argv[0]).stem} NAME")
    return sys.argv[1].partition("@")[2] or sys.argv[1]


def check_name(name: str, choices: Collection[str]) -> None:
    """Raises InputError, with the choices, for a name that params.yaml does not have."""
    if name not in choices:
        raise InputError(f"{name!r} is not known to params.yaml; choose one of {', '.join(choices)}")
