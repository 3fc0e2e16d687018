"""What Prefect has to be told of a run, on disk until Prefect has taken it.

A file for each flow run, in logs/prefect: written as the flow begins, again as it ends, removed once Prefect
has the final state. What is left belongs to a run whose end Prefect never heard of: a run that was killed, or
that ended while the server was away. `deliver` then tells it the truth. Only the holder of the run lock may
call it.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import ObjectNotFound

from hpt_core.errors import one_line
from hpt_core.files import write_json
from pipelines import paths

logger = logging.getLogger(__name__)

FOLDER = paths.LOGS / "prefect"
KILLED = "the process of this run was killed"
KEPT_FOR = 30 * 24 * 3600
"""Seconds for which a record is kept that no server knows: it may belong to a server that is not in use now.
"""


@dataclass
class Ended:
    """A state in which something ended: its type in Prefect, its name there, what happened."""

    type: str = "CRASHED"
    name: str = "Crashed"
    message: str = KILLED

    def state(self) -> State[Any]:
        return State(type=StateType[self.type], name=self.name, message=self.message)


@dataclass
class Record:
    """The flow run with id `flow_run`; until its end is known it counts as killed."""

    flow_run: str
    ended: Ended = field(default_factory=Ended)
    steps: dict[str, Ended] = field(default_factory=dict)
    """Name of the task -> how it ended."""


def write(root: Path, record: Record) -> None:
    """Keep `record` until `forget`."""
    write_json(root / FOLDER / f"{record.flow_run}.json", asdict(record))


def forget(root: Path, flow_run: str) -> None:
    """Prefect has the final state of the run."""
    (root / FOLDER / f"{flow_run}.json").unlink(missing_ok=True)


def deliver(root: Path, current: str = "") -> int:
    """Tell Prefect how the runs before `current` ended; returns how many it had to be told.

    A server that cannot be reached is left for the next time.
    """
    told = 0
    for path in sorted((root / FOLDER).glob("*.json")):
        if path.stem == current:
            continue
        try:
            record = _read(path)
            with get_client(sync_client=True) as client:
                told += _tell(client, record)
        except ObjectNotFound:
            if time.time() - path.stat().st_mtime < KEPT_FOR:
                continue
        except ValueError:
            logger.warning("%s cannot be read; it is removed", path)
        # Prefect's client raises errors of its own and those of its HTTP library.
        except Exception as error:
            logger.info("Prefect is told of earlier runs later: %s", one_line(error))
            return told
        path.unlink(missing_ok=True)
    return told


def _tell(client: SyncPrefectClient, record: Record) -> bool:
    """Set the states of the run and of its tasks, unless they are right; returns whether they were wrong."""
    identifier = UUID(record.flow_run)
    run = client.read_flow_run(identifier)
    known = run.state is not None and run.state.is_final()
    # A server that was away may have called a run crashed that went on and ended well.
    right = known and (record.ended.type == "CRASHED" or run.state_type == StateType[record.ended.type])
    if not right:
        client.set_flow_run_state(identifier, record.ended.state(), force=True)
    for task in client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [identifier]})):  # type: ignore[arg-type]
        ended = record.steps.get(task.name, Ended())
        if task.state is None or not (task.state.is_final() or task.state.name == "NotReady"):
            client.set_task_run_state(task.id, ended.state(), force=True)
    return not right


def _read(path: Path) -> Record:
    data = json.loads(path.read_text())
    try:
        steps = {name: Ended(**ended) for name, ended in data["steps"].items()}
        return Record(data["flow_run"], Ended(**data["ended"]), steps)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(path) from error
