"""What a publication that MLflow did not take is about, so that a later one completes the same parent run."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines import paths

FILE = paths.LOGS / "unpublished.json"


@dataclass(frozen=True)
class FlowRun:
    """A flow run that ended and is to be published."""

    id: str
    name: str
    status: str
    """How it ended: FINISHED or FAILED."""


def new_publication() -> FlowRun:
    """A publication without a flow run, as after `dvc repro`."""
    name = f"publish-{os.urandom(4).hex()}"
    return FlowRun(name, name, "FINISHED")


def read_unpublished(root: Path) -> FlowRun | None:
    """The flow run whose publication was begun and not completed."""
    try:
        return FlowRun(**json.loads((root / FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def keep_unpublished(root: Path, flow_run: FlowRun) -> None:
    path = root / FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(flow_run)), encoding="utf-8")


def forget_unpublished(root: Path) -> None:
    (root / FILE).unlink(missing_ok=True)
