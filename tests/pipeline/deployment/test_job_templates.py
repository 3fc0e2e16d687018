"""The base job templates against Prefect's own worker classes and the schemas that it publishes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import prefect.server.api.collections as collections
import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.utilities.schema_tools import validate
from prefect.utilities.templating import apply_values
from prefect.workers.process import ProcessJobConfiguration

from pipelines.deployment import job_templates
from pipelines.deployment.specification import PoolType

REPO = Path(__file__).parents[3]
POOLS: list[PoolType] = ["process", "docker", "kubernetes"]
PUBLISHED = Path(collections.__file__).parent / "collections_data/views/aggregate-worker-metadata.json"


def published(pool_type: str) -> dict[str, Any]:
    """The template that Prefect ships for a type of worker."""
    workers = json.loads(PUBLISHED.read_text())
    found: dict[str, Any] = next(types[pool_type] for types in workers.values() if pool_type in types)
    return found["default_base_job_configuration"]


@pytest.fixture(params=POOLS)
def template(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, Any]]:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-planted-secret")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    return request.param, job_templates.read(REPO, request.param)


def test_prefect_takes_the_template(template: tuple[str, dict[str, Any]]) -> None:
    pool_type, made = template
    WorkPoolCreate(name="hpt", type=pool_type, base_job_template=made)
    defaults = {
        name: entry["default"]
        for name, entry in made["variables"]["properties"].items()
        if "default" in entry
    }
    validate(defaults, made["variables"], raise_on_error=True)
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(made["job_configuration"])))
    assert used == set(made["variables"]["properties"]), "each variable is used, and each that is used exists"


def test_the_configuration_has_only_fields_that_the_worker_reads(
    template: tuple[str, dict[str, Any]],
) -> None:
    pool_type, made = template
    known = set(published(pool_type)["job_configuration"]) | {"container_create_kwargs"}
    assert set(made["job_configuration"]) <= known


def test_command_folder_and_environment_are_no_variables(template: tuple[str, dict[str, Any]]) -> None:
    _, made = template
    configuration = made["job_configuration"]
    assert configuration["command"].endswith("-m pipelines.cli.flow_run")
    assert not {"command", "env", "working_dir", "volumes", "privileged"} & set(
        made["variables"]["properties"]
    )


def test_secrets_are_references(template: tuple[str, dict[str, Any]]) -> None:
    pool_type, made = template
    assert "a-planted-secret" not in json.dumps(made)
    if pool_type == "docker":
        assert job_templates.secrets(made) == {"hpt-aws-secret-access-key": "AWS_SECRET_ACCESS_KEY"}
        assert made["job_configuration"]["env"]["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"
    if pool_type == "kubernetes":
        [container] = made["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "hpt"}}]


def test_the_process_worker_ignores_what_a_deployment_asks_for() -> None:
    asked = {"command": "touch planted", "working_dir": "/", "env": {"BASH_ENV": "planted"}}
    made = job_templates.read(REPO, "process")["job_configuration"]
    # As the worker does after it has resolved references to blocks, of which this template has none.
    configuration = ProcessJobConfiguration.model_validate(apply_values(made, asked, remove_notset=True))
    assert configuration.command is not None and configuration.command.endswith("-m pipelines.cli.flow_run")
    assert (configuration.working_dir, configuration.env) == (REPO, {})


def test_gpus_and_manifest_of_containers() -> None:
    docker = job_templates.read(REPO, "docker")["job_configuration"]["container_create_kwargs"]
    assert docker["device_requests"][0]["Capabilities"] == [["gpu"]]
    ours = job_templates.read(REPO, "kubernetes")["job_configuration"]["job_manifest"]
    theirs = published("kubernetes")["job_configuration"]["job_manifest"]
    assert (ours["apiVersion"], ours["kind"]) == (theirs["apiVersion"], theirs["kind"])
    [container], [expected] = (
        manifest["spec"]["template"]["spec"]["containers"] for manifest in (ours, theirs)
    )
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpus }}"
    assert container["name"] == expected["name"], "the worker finds its container by this name"
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in ours["spec"]["template"]["spec"]["volumes"]}
