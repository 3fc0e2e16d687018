"""A run with nothing to do asks the tracking server whether all is there, and needs no client for that."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import mlflow_server
from servers import free_port

from pipelines import final_steps
from pipelines.final_steps import FinalSteps
from pipelines.orchestration.process_group import ProcessGroups
from pipelines.tracking import published_state
from pipelines.tracking.lineage.index import Index
from pipelines.tracking.run_layout import CHECKOUT_TAG

ASK = """
import sys
from pathlib import Path
from pipelines import final_steps
from pipelines.final_steps import FinalSteps
from pipelines.orchestration.process_group import ProcessGroups
from pipelines.tracking import published_state
from pipelines.tracking.lineage.index import Index
from pipelines.tracking.pages.addresses import addresses
known = published_state.confirmed(Path.cwd())
pages = addresses(Path.cwd(), None)
assert "mlflow" not in sys.modules
print(known.published, "|", known.registered, "|", pages)
"""
"""What a run with nothing to do asks and shows, in a process that has not imported MLflow's client."""


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
    assert published_state.confirmed(workspace) is None, "nothing was ever published"
    inputs = published_state.inputs_hash(workspace)
    published_state.keep(workspace, inputs, publish(workspace, "night", "night"), register(workspace))
    return Store(workspace, "toy")


def test_it_says_what_the_steps_would_say_and_sees_whatever_changes(
    workspace: Path, published: Any, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.tracking.checkout import checkout_id
    from pipelines.tracking.publish import publish
    from pipelines.tracking.registry import register

    asked = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True).stdout
    pages = {
        f"{alias} (version {version})": f"{server}/#/models/toy/versions/{version}"
        for alias, version in published.aliases("toy").items()
    }
    assert len(pages) == 2
    assert asked.strip() == f"{publish(workspace)} | {register(workspace)} | {pages}"

    client, known = published.client, published_state.confirmed(workspace)
    assert known is not None and len(known.runs) == 2

    # A run that a killed process of this checkout left; one of another checkout is no reason to wait.
    theirs = client.create_run(published.experiment, tags={CHECKOUT_TAG: "another"})
    assert published_state.confirmed(workspace) == known
    dead = client.create_run(published.experiment, tags={CHECKOUT_TAG: checkout_id(workspace)})
    assert published_state.confirmed(workspace) is None
    for run in (dead, theirs):
        client.set_terminated(run.info.run_id, "KILLED")
    assert published_state.confirmed(workspace) == known

    client.delete_run(known.runs[0])
    assert published_state.confirmed(workspace) is None
    client.restore_run(known.runs[0])
    assert published_state.confirmed(workspace) == known

    version = known.aliases["candidate"]
    client.delete_registered_model_alias(known.model, "candidate")
    assert published_state.confirmed(workspace) is None
    client.set_registered_model_alias(known.model, "candidate", version)
    assert published_state.confirmed(workspace) == known

    params = workspace / "params.yaml"
    text = params.read_text()
    params.write_text(text + "\n# changed\n")
    assert published_state.confirmed(workspace) is None
    params.write_text(text)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.replace("127.0.0.1", "localhost"))
    assert published_state.confirmed(workspace) is None, "what another server has is not known"


def test_the_last_steps_go_the_long_way_where_something_is_new_and_note_it_again(
    workspace: Path, published: Any
) -> None:
    def messages(complete: bool) -> tuple[dict[str, str], bool]:
        """Step -> what it says, and whether nothing was written for it."""
        final = FinalSteps(workspace, ProcessGroups(), "night", "night")
        final.look_at_mlflow()
        steps = [step for step in final.steps(complete) if step.name != "push"]
        said = {step.name: step.run(lambda *arguments: None).message for step in steps}
        return said, final._published is None

    said, short = messages(complete=True)
    assert short and said["publish"].startswith("unchanged: ")

    params = workspace / "params.yaml"
    params.write_text(params.read_text() + "\n# changed\n")
    assert messages(complete=True) == (said, False)
    assert messages(complete=True) == (said, True), "it was noted again"

    # A run of which a stage failed looks at everything, and so does the one after it.
    assert messages(complete=False) == ({"publish": said["publish"]}, False)
    assert published_state.expected(workspace) is None


def test_what_is_undecided_or_made_elsewhere_is_not_noted(workspace: Path, published: Any) -> None:
    from pipelines.tracking.publish import publish
    from pipelines.tracking.registry import register

    inputs, all_there, registered = (
        published_state.inputs_hash(workspace),
        publish(workspace),
        register(workspace),
    )
    for told, said in (
        (all_there, replace(registered, final=False)),
        (replace(all_there, elsewhere=["program"]), registered),
        (all_there, replace(registered, versions={})),
    ):
        published_state.forget(workspace)
        published_state.keep(workspace, inputs, told, said)
        assert published_state.expected(workspace) is None
    published_state.keep(workspace, inputs, all_there, registered)
    assert published_state.expected(workspace) is not None


def test_no_password_follows_a_redirect(
    workspace: Path, published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    class Redirect(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{elsewhere.server_port}/")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    class Elsewhere(Redirect):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_error(404)

    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) for kind in (Redirect, Elsewhere)]
    server, elsewhere = servers
    for each in servers:
        threading.Thread(target=each.serve_forever, daemon=True).start()
    known = published_state.expected(workspace)
    assert known is not None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anna")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "planted")
    path = workspace / published_state.FILE
    path.write_text(json.dumps({**asdict(known), "inputs": published_state.inputs_hash(workspace)}))
    Index(workspace, "toy").mark_synchronised(1)  # There is one for this server, too.
    assert published_state.confirmed(workspace) is None
    assert seen == ["Basic YW5uYTpwbGFudGVk", None]
    for each in servers:
        each.shutdown()


def test_a_server_that_is_started_again_is_waited_for(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, services: Path
) -> None:
    """It is away when the night ends, and back before the attempts are used up."""
    monkeypatch.setattr(final_steps, "DELAYS", (1.0, 60.0))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    port, lines, groups = free_port(), list[str](), ProcessGroups()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    final = FinalSteps(workspace, groups, "night", "night")
    publish = final.steps(complete=True)[0]

    def log(message: str, *arguments: object) -> None:
        lines.append(message % arguments)
        if len(lines) == 2:
            threading.Timer(0.5, groups.close).start()

    # A run that is stopped does not wait for it.
    assert publish.run(log).verdict == "failed"
    assert len(lines) == 2 and "connection refused" in lines[0] and "trying again in 1 s" in lines[0]

    final = FinalSteps(workspace, ProcessGroups(), "night", "night")
    with ThreadPoolExecutor() as pool:
        monkeypatch.setattr(final_steps, "DELAYS", (1.0,) * 100)
        outcome = pool.submit(final.steps(complete=True)[0].run, log)
        with mlflow_server(tmp_path, port=port):
            assert outcome.result().verdict == "done"
