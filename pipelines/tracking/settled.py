"""Whether MLflow still has what this checkout published and registered last, asked without MLflow's client.

A night with nothing to do needs three answers of the tracking server. Importing the client takes longer than
all the rest of such a night. Whatever is not as it was, or cannot be asked in this way, is left to
`publish`, `register` and `close_dead_runs`, which know what to do about it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sqlite3
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpt_core.files import write_json
from hpt_core.redaction import without_user
from pipelines import paths
from pipelines.environment import tracking_uri
from pipelines.params import load_params
from pipelines.tracking.checkout import checkout_id
from pipelines.tracking.lineage.index import Index
from pipelines.tracking.run_layout import CHECKOUT_TAG
from pipelines.tracking.unpublished import read_unpublished

if TYPE_CHECKING:
    from pipelines.tracking.registry import Registration

FILE = paths.LOGS / "settled.json"
PATIENCE = 5.0
"""Seconds for an answer."""


@dataclass(frozen=True)
class Settled:
    """What a publication and a registration left, of which nothing was missing."""

    inputs: str
    """Hash of what was published, and of where to."""
    experiment: str
    runs: list[str]
    """Runs of the arms."""
    model: str
    aliases: dict[str, str]
    """Alias -> version of the registered model."""
    published: str
    registered: str
    """What the two steps say while nothing changes."""


def keep(root: Path, runs: Mapping[str, str], registered: Registration) -> None:
    """Note what is there now, after both steps have succeeded; runs: arm -> id of its run.

    Raises TrackingError where MLflow fails.
    """
    from pipelines.tracking.mlflow_errors import tracking_errors
    from pipelines.tracking.mlflow_store import Store
    from pipelines.tracking.publish import Published

    tracking = load_params(root / paths.PARAMS).tracking
    with tracking_errors(root):
        store = Store(root, tracking.experiment)
        aliases = store.aliases(tracking.registered_model)
    reason = "the candidate is the champion" if registered.promoted else registered.reason
    settled = Settled(
        inputs=_inputs(root),
        experiment=store.experiment,
        runs=sorted(runs.values()),
        model=tracking.registered_model,
        aliases=aliases,
        published=str(Published(unchanged=list(runs))),
        registered=str(replace(registered, promoted=False, changed=False, reason=reason)),
    )
    write_json(root / FILE, asdict(settled))


def expected(root: Path) -> Settled | None:
    """What a tracking server should have, if nothing was made since; None where only its client can tell."""
    try:
        known = Settled(**json.loads((root / FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    new = known.inputs != _inputs(root) or read_unpublished(root) is not None
    if new or not tracking_uri(root).startswith("http"):
        return None
    try:
        complete = Index(root, load_params(root / paths.PARAMS).tracking.experiment).complete
    except sqlite3.Error:
        return None
    return known if complete else None


def confirmed(root: Path) -> Settled | None:
    """What the tracking server has, if that is all as it was left, and no run of this checkout is RUNNING."""
    known = expected(root)
    if known is None:
        return None
    try:
        running = _search(root, known, f"tags.`{CHECKOUT_TAG}` = '{checkout_id(root)}'", "RUNNING")
        names = ", ".join(f"'{run}'" for run in known.runs)
        there = _search(root, known, f"attributes.run_id IN ({names})", "FINISHED")
        query = urllib.parse.urlencode({"name": known.model})
        model = _ask(root, f"registered-models/get?{query}")["registered_model"]
        aliases = {entry["alias"]: entry["version"] for entry in model.get("aliases", [])}
    except (OSError, ValueError, KeyError):
        return None
    settled = not running and sorted(there) == known.runs and aliases == known.aliases
    return known if settled else None


def _inputs(root: Path) -> str:
    digest = hashlib.sha256(without_user(tracking_uri(root)).encode())
    for path in (paths.DVC_LOCK, paths.PARAMS):
        digest.update((root / path).read_bytes() if (root / path).exists() else b"")
    return digest.hexdigest()


def _search(root: Path, known: Settled, condition: str, status: str) -> list[str]:
    """Ids of the runs of the experiment that are not deleted."""
    query = {
        "experiment_ids": [known.experiment],
        "filter": f"{condition} and attributes.status = '{status}'",
        "max_results": len(known.runs) + 1,
    }
    return [run["info"]["run_id"] for run in _ask(root, "runs/search", query).get("runs", [])]


def _ask(root: Path, what: str, body: object = None) -> Any:
    """The answer of MLflow's REST API."""
    address = urllib.parse.urlsplit(tracking_uri(root))
    user = os.environ.get("MLFLOW_TRACKING_USERNAME") or urllib.parse.unquote(address.username or "")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD") or urllib.parse.unquote(address.password or "")
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    elif user:
        headers["Authorization"] = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    base = without_user(tracking_uri(root)).rstrip("/")
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{base}/api/2.0/mlflow/{what}", data, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)
