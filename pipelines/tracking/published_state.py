"""Whether MLflow still has what this checkout published and registered last, asked without MLflow's client.

A night with nothing to do needs three answers of the tracking server. Importing the client takes longer than
all the rest of such a night. Whatever is not as it was, or cannot be asked in this way, is left to
`publish`, `register` and `close_dead_runs`, which know what to do about it.

Asked are the runs of the arms, runs that a killed process left, and the aliases of the registered model. A
parent run, the run of the starting policy or a version without an alias that somebody deleted is not missed
here; `hpt publish` looks at everything and brings them back.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import urllib.parse
import urllib.request
from contextlib import suppress
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
from pipelines.tracking.run_layout import CHECKOUT_TAG, COMPLETE_TAG
from pipelines.tracking.unpublished import read_unpublished

if TYPE_CHECKING:
    from pipelines.tracking.publish import Published
    from pipelines.tracking.registry import Registration

log = logging.getLogger(__name__)

FILE = paths.LOGS / "published_state.json"
RULES = 1
"""Counts changes of what a publication or a registration decides from the same inputs."""
TIMEOUT_S = 5.0
"""Seconds for an answer."""


@dataclass(frozen=True)
class PublishedState:
    """The runs and aliases in MLflow after the last complete publication and registration."""

    inputs: str
    """Hash of dvc.lock, params.yaml and the address of the server."""
    experiment: str
    runs: list[str]
    """Runs of the arms."""
    model: str
    aliases: dict[str, str]
    """Alias -> version of the registered model."""
    published: str
    registered: str
    """What the two steps say while nothing changes."""


def keep(root: Path, inputs: str, published: Published, registered: Registration) -> None:
    """Note what is there after both steps, unless something is still missing, or was undecided.

    inputs: `inputs_hash` before the two steps read their files. It only saves time, so nothing is raised.
    """
    from pipelines.tracking.publish import Published

    complete = not published.elsewhere and set(registered.versions) == set(published.runs)
    if not (complete and registered.final and tracking_uri(root).startswith("http")):
        return
    reason = "the candidate is the champion" if registered.promoted else registered.reason
    try:
        experiment, aliases = _there(root)
        state = PublishedState(
            inputs=inputs,
            experiment=experiment,
            runs=sorted(published.runs.values()),
            model=load_params(root / paths.PARAMS).tracking.registered_model,
            aliases=aliases,
            published=str(Published(unchanged=list(published.runs))),
            registered=str(replace(registered, promoted=False, changed=False, reason=reason)),
        )
        write_json(root / FILE, asdict(state))
    except Exception:
        log.debug("the state of MLflow is not noted", exc_info=True)


def forget(root: Path) -> None:
    """Let the next run look at everything."""
    with suppress(OSError):
        (root / FILE).unlink(missing_ok=True)


def inputs_hash(root: Path) -> str:
    """Hash of all that decides what is published and registered, and where."""
    digest = hashlib.sha256(f"{RULES} {without_user(tracking_uri(root))}".encode())
    for path in (paths.DVC_LOCK, paths.PARAMS):
        digest.update((root / path).read_bytes() if (root / path).exists() else b"")
    return digest.hexdigest()


def _there(root: Path) -> tuple[str, dict[str, str]]:
    """Id of the experiment, and the aliases of the registered model."""
    from pipelines.tracking.mlflow_store import Store

    tracking = load_params(root / paths.PARAMS).tracking
    store = Store(root, tracking.experiment)
    return store.experiment, store.aliases(tracking.registered_model)


def expected(root: Path) -> PublishedState | None:
    """What a tracking server should have, if nothing was made since; None where only its client can tell."""
    try:
        if not (root / FILE).exists():
            return None
        known = PublishedState(**json.loads((root / FILE).read_text(encoding="utf-8")))
        if known.inputs != inputs_hash(root) or read_unpublished(root) is not None:
            return None
        index = Index(root, load_params(root / paths.PARAMS).tracking.experiment)
        return known if index.complete and (root / paths.LATEST_REPORT).exists() else None
    except Exception:
        # Whatever cannot be known in this way is looked at by the steps themselves.
        log.debug("what MLflow should have is not known", exc_info=True)
        return None


def confirmed(root: Path) -> PublishedState | None:
    """What the tracking server has, if that is all as it was left, and no run of this checkout is RUNNING."""
    known = expected(root)
    if known is None:
        return None
    try:
        running = _search(root, known, f"tags.`{CHECKOUT_TAG}` = '{checkout_id(root)}'", "RUNNING")
        names = ", ".join(f"'{run}'" for run in known.runs)
        complete = f"attributes.run_id IN ({names}) and tags.`{COMPLETE_TAG}` = 'true'"
        there = _search(root, known, complete, "FINISHED")
        query = urllib.parse.urlencode({"name": known.model})
        model = _ask(root, f"registered-models/get?{query}")["registered_model"]
        aliases = {entry["alias"]: entry["version"] for entry in model.get("aliases", [])}
    except Exception:
        log.debug("MLflow's server was not asked", exc_info=True)
        return None
    unchanged = not running and sorted(there) == known.runs and aliases == known.aliases
    return known if unchanged else None


def _search(root: Path, known: PublishedState, condition: str, status: str) -> list[str]:
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
    base = without_user(tracking_uri(root)).rstrip("/")
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{base}/api/2.0/mlflow/{what}", data, {"Content-Type": "application/json"}
    )
    # In MLflow's order. A server that sends the request elsewhere must not send the password with it.
    if user and password:
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {basic}")
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return json.load(answer)
