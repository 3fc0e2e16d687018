"""`hpt run`: the work in this process, and Prefect's flow beside it, which shows it if Prefect is there."""

from __future__ import annotations

import atexit
import contextvars
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn

from rich.console import Console

from hpt_core.errors import InputError, one_line
from pipelines import paths
from pipelines.environment import SERVER_OF_RUN
from pipelines.orchestration import run_lock
from pipelines.orchestration.prefect_api import URL, answers
from pipelines.orchestration.prefect_server import server_of_a_run
from pipelines.orchestration.steps import Threads
from pipelines.orchestration.views import TerminalView
from pipelines.params import load_params
from pipelines.result import Result
from pipelines.tracking import published_state
from pipelines.tracking.mlflow_errors import TrackingError, tracking_errors
from pipelines.work import Work

logger = logging.getLogger(__name__)

WITHOUT = "run without it with: hpt run --without-prefect"
REPORT_LIMIT = 40.0
"""Seconds that Prefect gets at the end of a run to take the result before the command ends without it."""
STOP_LIMIT = 20.0
"""Seconds that the work gets to end after it was told to."""
PREFECT_AWAY = (
    "Prefect's server is away and was not told how the run ended; the next run tells it. "
    "Nothing else is missing."
)


def run(workers: int = 2, retries: int = 0, wait: bool = True, prefect: bool = True) -> Result:
    """Bring the checkout in which this process stands up to date; the result holds what failed.

    wait: whether to wait for another run of the checkout. prefect: whether Prefect is to show the run.

    Raises BusyError where another run is going on and is not to be waited for, InputError where the Prefect
    server of PREFECT_API_URL does not answer, and whatever interrupts the run, once all its processes have
    ended.
    """
    root = Path.cwd()
    work = Work(root, workers)
    waiting = run_lock.once(partial(print, flush=True)) if wait else None
    with run_lock.hold(root, waiting=waiting):
        threading.Thread(target=_warm_up, args=(root,), daemon=True).start()
        server = _server(root) if prefect else "none"
        target = _without_prefect if server == "none" else partial(_with_prefect, server == "own")
        return _interruptible(work, threading.Thread(target=target, args=(work, retries), daemon=True))


def _server(root: Path) -> Literal["user's", "own", "none"]:
    """Which Prefect server there is: the user's, or one that is started for this run.

    Raises InputError where the user's does not answer, before anything is spent.
    """
    url = os.environ.get(URL) or _url_of_profile()
    if url:
        if not answers(url):
            raise InputError(
                f"Prefect's server at {url} does not answer; start it, correct {URL}, or {WITHOUT}"
            )
        return "user's"
    server = server_of_a_run(root)
    # Prefect's own handlers are registered later and thus run earlier, while the server is still there.
    atexit.register(server.end)
    if not server.wait_until_healthy():
        print(f"Prefect's server did not start, see {server.log}; the run goes on without it", flush=True)
        return "none"
    os.environ |= {URL: server.url, SERVER_OF_RUN: server.url}
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()
    return "own"


def _url_of_profile() -> str | None:
    """The address in the user's own profile of Prefect, which takes seconds to read."""
    home = os.environ.get("PREFECT_HOME")
    if "PREFECT_PROFILE" not in os.environ and not (home and Path(home, "profiles.toml").exists()):
        return None
    from prefect.settings import PREFECT_API_URL

    url: str | None = PREFECT_API_URL.value()
    return url


def _interruptible(work: Work, thread: threading.Thread) -> Result:
    """Wait for the work, not for Prefect. A signal ends the work, with every process that it has started."""
    thread.start()
    try:
        while thread.is_alive() and not work.finished.is_set():
            time.sleep(0.2)
    except (KeyboardInterrupt, SystemExit) as error:
        work.stop("ended by Ctrl-C" if isinstance(error, KeyboardInterrupt) else "ended by SIGTERM")
        thread.join(STOP_LIMIT)
        if thread.is_alive() or work.refusal:
            work.close_views()
            leave(130 if isinstance(error, KeyboardInterrupt) else 143)
        raise
    thread.join(REPORT_LIMIT)
    if work.error is not None:
        raise work.error
    if work.result is None:
        raise InputError(f"Prefect did not begin the run: {work.refusal}; {WITHOUT}")
    return replace(work.result, prefect_away=thread.is_alive() or bool(work.refusal))


def leave(status: int) -> NoReturn:
    """End this process where Prefect's server is away, to which Prefect's threads would try to send for
    minutes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line says more than the command itself, which prints the result, and that Prefect is away."""
    if record.name.startswith(("prefect.events", "prefect._internal", "EventsWorker", "APILogWorker")):
        return False
    return not record.getMessage().startswith(("Finished in state", "Running hook", "Hook '", "View at"))


def _without_prefect(work: Work, retries: int) -> None:
    if not work.views:
        work.views.append(TerminalView(Console(stderr=True)))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s | %(name)s | %(message)s", datefmt="%H:%M:%S")
    name = f"run-{os.urandom(4).hex()}"
    with suppress(BaseException):  # It is in `work.error`.
        work.run(Threads(work.workers + 1, retries), name, name, logging.getLogger("run").info)


def _with_prefect(own_server: bool, work: Work, retries: int) -> None:
    """Run the flow in this thread. What Prefect raises is no failure of the work."""
    from prefect.logging.handlers import PrefectConsoleHandler
    from prefect.task_runners import ThreadPoolTaskRunner

    from pipelines import flow

    context = contextvars.copy_context()
    context.run(flow.work_of_command.set, work)
    runner: Any = ThreadPoolTaskRunner(max_workers=work.workers + 1)
    logging.raiseExceptions = False  # Prefect would print a traceback for all logs that it cannot send.
    # Prefect gives its inner parts a handler of their own, which writes whole events.
    for name in (None, "prefect._internal"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(_is_news)
            if isinstance(handler, PrefectConsoleHandler) and not work.views:
                work.views.append(TerminalView(handler.console))
    try:
        described = flow.hpt.with_options(task_runner=runner)
        context.run(described, workers=work.workers, retries=retries, return_state=True)
    except BaseException as error:
        work.refusal = one_line(error)
        logger.debug("Prefect", exc_info=True)
        if own_server and not work.finished.is_set():
            print(f"Prefect did not begin the run ({work.refusal}); it goes on without it", flush=True)
            _without_prefect(work, retries)


def _warm_up(root: Path) -> None:
    """Import mlflow and create its database while the Prefect server starts and the first stage runs.

    Not where the last run left nothing to write: the import would only slow down the rest.
    """
    if published_state.expected(root) is not None:
        return
    from pipelines.tracking.mlflow_store import Store

    try:
        with tracking_errors(root):
            Store(root, load_params(root / paths.PARAMS).tracking.experiment)
    except TrackingError as error:
        logger.warning("%s", error)
    except Exception as error:
        # The run itself meets the same, where it can be told what it means for the results.
        logger.debug("%s", one_line(error))
