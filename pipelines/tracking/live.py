"""Live logging of training: every step goes to a file beside the outputs, and to MLflow where that works.

The file also has speed and use of the machine, which differ from run to run and so cannot be in an output.
Publishing reads the file, so that a run that MLflow missed ends up like one that was logged live.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dvc.exceptions import DvcException

from hpt_core.errors import InputError
from pipelines import paths
from pipelines.environment import FLOW_RUN, FLOW_RUN_NAME
from pipelines.params import load_params
from pipelines.tracking import dvc_lock, run_data
from pipelines.tracking.machine_metrics import MachineMetrics
from pipelines.tracking.mlflow_errors import TrackingError, tracking_errors
from pipelines.tracking.run_layout import COMPLETE_TAG

if TYPE_CHECKING:
    from pipelines.tracking.run_writer import RunWriter

logger = logging.getLogger(__name__)


class LiveSink:
    """Sends the metrics of each training step to the arm's run, as `hpt_core.protocols.MetricSink`.

    Outside of a flow run it sends nothing, and `hpt publish` sends everything later. Where the run cannot be
    opened, or MLflow fails, it warns once, training goes on, and publishing completes the run from the files.
    """

    def __init__(self, arm: str, root: Path = Path(".")) -> None:
        self._root, self._path = root, root / paths.step_log(arm)
        self._writer: RunWriter | None = None
        self._last_step = -1
        self._machine = MachineMetrics()
        if FLOW_RUN not in os.environ:
            logger.info("not in a flow run: `hpt publish` sends the metrics to MLflow afterwards")
            return
        try:
            with tracking_errors(root):
                self._writer = self._open(arm)
                self._last_step = self._writer.last_step() if self._writer else -1
        # Opening the run also reads dvc.lock and tables, and no fault in them should stop training.
        except (TrackingError, DvcException, InputError, OSError) as error:
            self._give_up(error)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        row = {"step": step, **metrics, **self._machine.since_last()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # A run that starts from its first step replaces the log of an earlier run.
        with self._path.open("w" if step == 1 else "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._writer is None or step <= self._last_step:
            return
        try:
            with tracking_errors(self._root):
                self._writer.steps([row])
        except TrackingError as error:
            self._give_up(error)

    def _open(self, arm: str) -> RunWriter | None:
        """A writer into the arm's run; None where another checkout has published or is training the arm."""
        # MLflow's client takes seconds to import, and outside of a flow run nothing needs it.
        from pipelines.tracking.mlflow_store import Store
        from pipelines.tracking.run_hierarchy import ParentRun, open_arm_run
        from pipelines.tracking.run_writer import RunWriter

        entry = dvc_lock.live_entry(self._root, f"train@{arm}")
        record = run_data.describe(self._root, arm, entry, dvc_lock.read_lock(self._root))
        store = Store(self._root, load_params(self._root / paths.PARAMS).tracking.experiment)
        with store.exclusive():
            run = store.find_by_content(record.content)
            if run is not None and (COMPLETE_TAG in run.data.tags or store.busy(run)):
                return None
            flow_run, name = os.environ[FLOW_RUN], os.environ.get(FLOW_RUN_NAME)
            parent = ParentRun(store, self._root, flow_run, name)
            opened = open_arm_run(store, parent, record, run)
            return None if store.busy(opened) else RunWriter(store, opened)

    def _give_up(self, error: Exception) -> None:
        self._writer = None
        unreachable = isinstance(error, TrackingError)
        reason = error.reason if isinstance(error, TrackingError) else str(error) or repr(error)
        logger.warning(
            "%s (%s). Training goes on and its metrics are kept in files; `hpt publish` sends them %s.",
            "MLflow cannot be reached" if unreachable else "The metrics of this run cannot be sent live",
            reason.splitlines()[0][:200],
            "once the server is back" if unreachable else "once that is mended",
        )
