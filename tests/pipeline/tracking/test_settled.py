"""A run with nothing to do asks the tracking server whether all is there, and needs no client for that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import mlflow_server

from pipelines.tracking import settled
from pipelines.tracking.run_layout import CHECKOUT_TAG

ASK = """
import sys
from pathlib import Path
from pipelines.tracking import settled
known = settled.confirmed(Path.cwd())
assert "mlflow" not in sys.modules
print(known.published, "|", known.registered)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, services: Path) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture
def published(workspace: Path, monkeypatch: pytest.MonkeyPatch, server: str) -> Any:
    """The store of a checkout of which everything is published, registered and noted."""
    from pipelines.tracking.mlflow_store import Store
    from pipelines.tracking.publish import publish
    from pipelines.tracking.registry import register

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    assert settled.confirmed(workspace) is None, "nothing was ever published"
    settled.keep(workspace, publish(workspace).runs, register(workspace))
    return Store(workspace, "toy")


def test_it_says_what_the_steps_would_say_and_sees_whatever_changes(
    workspace: Path, published: Any, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.tracking.checkout import checkout_id
    from pipelines.tracking.publish import publish
    from pipelines.tracking.registry import register

    asked = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True).stdout
    assert asked.strip() == f"{publish(workspace)} | {register(workspace)}"

    client, known = published.client, settled.confirmed(workspace)
    assert known is not None and len(known.runs) == 2

    # A run that a killed process of this checkout left; one of another checkout is no reason to wait.
    theirs = client.create_run(published.experiment, tags={CHECKOUT_TAG: "another"})
    assert settled.confirmed(workspace) == known
    dead = client.create_run(published.experiment, tags={CHECKOUT_TAG: checkout_id(workspace)})
    assert settled.confirmed(workspace) is None
    for run in (dead, theirs):
        client.set_terminated(run.info.run_id, "KILLED")
    assert settled.confirmed(workspace) == known

    client.delete_run(known.runs[0])
    assert settled.confirmed(workspace) is None
    client.restore_run(known.runs[0])
    assert settled.confirmed(workspace) == known

    version = known.aliases["candidate"]
    client.delete_registered_model_alias(known.model, "candidate")
    assert settled.confirmed(workspace) is None
    client.set_registered_model_alias(known.model, "candidate", version)
    assert settled.confirmed(workspace) == known

    params = workspace / "params.yaml"
    text = params.read_text()
    params.write_text(text + "\n# changed\n")
    assert settled.confirmed(workspace) is None
    params.write_text(text)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.replace("127.0.0.1", "localhost"))
    assert settled.confirmed(workspace) is None, "what another server has is not known"
