"""A real Prefect server with our settings: it serves its own page and its clients, and no other origin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from servers import free_port

from hpt_core.errors import InputError
from pipelines.orchestration.prefect_server import prefect_server
from pipelines.server_settings import is_loopback, mlflow_variables, prefect_variables

pytestmark = pytest.mark.slow

FOREIGN = "http://evil.example"
CLIENT = """
from prefect import flow
@flow
def hello(): return 1
hello()
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print("runs:", len(client.read_flow_runs()))
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    root = tmp_path_factory.mktemp("checkout")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            patch.delenv(name)
        patch.setenv("PREFECT_HOME", str(root / ".prefect"))
        patch.setenv("PREFECT_API_URL", "")  # restored afterwards; the block sets it
        with prefect_server(root, port) as url:
            yield url


def send(url: str, method: str = "GET", **headers: str) -> tuple[int, Message]:
    body = b"{}" if method == "POST" else None
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, {"content-type": "application/json", **named}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


def test_a_page_of_another_origin_reads_nothing_and_starts_nothing(api: str) -> None:
    own = api.removesuffix("/api")
    for origin, allowed in ((own, own), (own.replace("127.0.0.1", "localhost"), None), (FOREIGN, None)):
        _, headers = send(f"{api}/admin/version", Origin=origin)
        assert headers["Access-Control-Allow-Origin"] == (
            origin if allowed or "localhost" in origin else None
        )
    status, _ = send(
        f"{api}/flow_runs/filter", "OPTIONS", Origin=FOREIGN, Access_Control_Request_Method="POST"
    )
    assert status == 400
    # A form of another page needs no permission of CORS.
    for path in ("flow_runs/filter", "deployments/", "work_pools/"):
        assert send(f"{api}/{path}", "POST", Origin=FOREIGN)[0] == 403
    # Nor does the page get a token: the reply names no origin that may read it.
    assert send(f"{api}/csrf-token?client=x", Origin=FOREIGN)[1]["Access-Control-Allow-Origin"] is None


def test_its_own_page_and_clients_work(api: str) -> None:
    with urllib.request.urlopen(f"{api}/csrf-token?client=page", timeout=20) as response:
        token = json.load(response)["token"]
    own = api.removesuffix("/api")
    sent = {"Prefect_Csrf_Token": token, "Prefect_Csrf_Client": "page", "Origin": own}
    assert send(f"{api}/flow_runs/filter", "POST", **sent)[0] == 200
    with urllib.request.urlopen(f"{own}/ui-settings", timeout=20) as response:
        settings = json.load(response)
    assert settings["csrf_enabled"] and settings["api_url"] == api
    ended = subprocess.run(
        [sys.executable, "-c", CLIENT],
        env={**os.environ, "PREFECT_API_URL": api},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "runs: 1" in ended.stdout, ended.stderr


def test_a_server_beyond_loopback_needs_a_password() -> None:
    for host in ("0.0.0.0", "192.168.1.7", "::", "prefect.example"):
        assert not is_loopback(host)
        with pytest.raises(InputError, match="PREFECT_SERVER_API_AUTH_STRING"):
            prefect_variables(host, 4200, {})
    given = {"PREFECT_SERVER_API_AUTH_STRING": "hpt:planted"}
    variables = prefect_variables("prefect.example", 4200, given)
    assert variables["PREFECT_API_AUTH_STRING"] == "hpt:planted"
    assert "http://prefect.example:4200" in variables["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]
    assert "*" not in variables["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]


def test_what_the_user_has_set_wins() -> None:
    given = {"PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "https://ops.example"}
    assert prefect_variables("127.0.0.1", 4200, given) | given == prefect_variables("127.0.0.1", 4200, given)


def test_mlflow_answers_under_the_name_that_it_was_given() -> None:
    variables = mlflow_variables("mlflow.example", 5000, {})
    assert "mlflow.example:5000" in variables["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert "*" not in variables["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"]


def test_settings_stand_in_one_place() -> None:
    sources = (Path(__file__).parents[2] / "pipelines").rglob("*.py")
    naming = {path.name for path in sources if "CORS_ALLOWED_ORIGINS" in path.read_text()}
    assert naming == {"server_settings.py"}
