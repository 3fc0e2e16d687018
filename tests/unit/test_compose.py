"""infra/compose.yaml runs the servers of `hpt stack`: one definition, pinned images, loopback, no secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipelines.stack import credentials, definition, seaweedfs, servers

REPO = Path(__file__).parents[2]
FILE = REPO / "infra" / "compose.yaml"


@pytest.fixture(scope="module")
def text() -> str:
    return FILE.read_text()


@pytest.fixture(scope="module")
def compose(text: str) -> dict[str, Any]:
    """The file as docker compose reads it: with variables and merged keys."""
    values = {**definition.load(REPO).values, **dict.fromkeys(credentials.NAMES, "secret")}

    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2] or ""
        return values.get(name) or default.removeprefix(":-")

    loaded: dict[str, Any] = YAML(typ="safe").load(re.sub(r"\$\{(\w+)(:[-?][^}]*)?\}", value, text))
    return loaded


def test_every_variable_is_defined_and_no_secret_is_written_out(text: str) -> None:
    used = {match[1] for match in re.finditer(r"\$\{(\w+)(?!\w|:-)", text)}
    assert used <= {*definition.load(REPO).values, *credentials.NAMES}
    for line in text.splitlines():
        for name in re.findall(r"(\w*(?:PASSWORD|SECRET_KEY|SIGNING_KEY|READ_KEY|AUTH_STRING)): ", line):
            assert "${HPT_" in line, f"{name} has a value in the file"


def test_the_services_are_those_of_the_native_stack(compose: dict[str, Any]) -> None:
    stack = definition.load(REPO)
    native = servers.servers(stack, credentials.Secrets(dict.fromkeys(credentials.NAMES, "secret")))
    assert set(native) == set(compose["services"]) - {"provision"}
    for name, server in native.items():
        service = compose["services"][name]
        published = service.get("ports", [])
        outer = [port for port in server.ports if port not in stack.inner_ports]
        assert published == [f"{stack['HPT_HOST']}:{port}:{port}" for port in outer]
        assert service["healthcheck"]["test"] and service["restart"] == "unless-stopped"


def test_servers_have_the_same_settings(compose: dict[str, Any]) -> None:
    stack = definition.load(REPO)
    native = servers.servers(stack, credentials.Secrets(dict.fromkeys(credentials.NAMES, "secret")))
    here = ("PREFECT_HOME", "MLFLOW_AUTH_CONFIG_PATH")
    for name, host in (("mlflow", "s3"), ("prefect", "postgres"), ("s3", "s3")):
        inside = {
            key: value.replace("@127.0.0.1:", "@postgres:") if "@" in value else value
            for key, value in native[name].env.items()
            if key not in here
        }
        if name == "mlflow":
            inside["AWS_ENDPOINT_URL"] = inside["AWS_ENDPOINT_URL"].replace("127.0.0.1", host)
            inside["MLFLOW_SERVER_ALLOWED_HOSTS"] += ",mlflow:*"
        service = compose["services"][name]["environment"]
        assert {key: value for key, value in service.items() if key not in here} == inside


def test_images_are_pinned_and_ports_are_on_loopback(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert re.search(r":\d+(\.\d+)+", service["image"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_servers_are_started_by_the_command_lines_of_the_native_stack(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    """They differ in addresses, which are a container's own, in folders, and in ports inside of one."""
    stack = definition.load(REPO)
    stack = definition.Definition(tmp_path, stack.values)
    stack.folder.mkdir()
    native = servers.servers(stack, credentials.Secrets(dict.fromkeys(credentials.NAMES, "secret")))
    differ = {
        "s3": {"-dir", "-s3.config", "-s3.ip.bind", *(f"-{port}" for port in seaweedfs.INNER_PORTS)}
        | {"-s3.localSocket", "-filer.localSocket", "-volume.preStopSeconds"},
        "mlflow": {"--host"},
        "prefect": {"--host"},
        "worker": {"--name"},
    }
    for name, other in differ.items():
        inside, here = compose["services"][name]["command"], native[name].command()
        assert options(inside, other) == options(here, other), name
    words = compose["services"]["postgres"]["command"]
    assert {"log_min_error_statement=panic", "max_connections=200"} <= set(words)


def options(command: list[str], left_out: set[str]) -> dict[str, str]:
    """The options of a command line with their values, joined by a space or by an equals sign."""
    found = re.findall(r"(?<!\S)(--?[a-zA-Z][\w.-]*)(?:[= ](?!-)(\S+))?", " ".join(command))
    assert found
    return {name: value for name, value in found if name not in {"-m", *left_out}}
