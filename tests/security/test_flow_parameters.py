"""Whoever may start the flow chooses numbers, and neither a folder nor a command. The flow of one stage, that
only the workers of `pools` run, takes the parameters of a project as well, and still no command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines import environment

REPO = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("own_environment")
HARMLESS = {"integer", "number", "boolean"}


def flows() -> list[Any]:
    environment.prepare(REPO)
    from prefect import Flow

    from pipelines import flow, flow_parts

    values = {**vars(flow), **vars(flow_parts)}.values()
    return [value for value in values if isinstance(value, Flow) and value.name != "hpt-stage"]


def test_no_parameter_of_a_flow_is_a_text() -> None:
    found = flows()
    assert found
    for each in found:
        for name, schema in each.parameters.properties.items():
            kinds = {schema.get("type"), *(option.get("type") for option in schema.get("anyOf", []))} - {None}
            assert kinds <= HARMLESS | {"null"} or "enum" in schema, f"{each.name}: {name} is {schema}"


@pytest.mark.parametrize("value", ["/tmp", "x; touch planted", ["a"], {"a": "b"}], ids=str)
def test_a_text_in_place_of_a_number_is_refused(value: Any) -> None:
    for each in flows():
        for name in each.parameters.properties:
            with pytest.raises(Exception, match=re.escape(name)):
                each.validate_parameters({name: value})


def test_the_flow_of_one_stage_takes_what_a_handover_has_and_checks_it() -> None:
    """tests/pipeline/pools has the refusals: another stage, commit or input, and an invalid params.yaml."""
    environment.prepare(REPO)
    from pipelines.flow_parts import one_stage
    from pipelines.pools.handover import Handover

    assert list(one_stage.parameters.properties) == list(Handover.__dataclass_fields__)


@pytest.mark.parametrize(
    ("name", "option"), [("hpt-stage", []), ("hpt", ["--stage"]), ("hpt-inbox", ["--stage"])]
)
def test_a_worker_of_the_flow_runs_no_stage_and_that_of_a_pool_no_flow(
    name: str, option: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.prepare(REPO)
    from pipelines.cli import flow_run
    from pipelines.deployment import server

    monkeypatch.setattr(server, "flow_name", lambda run: name)
    monkeypatch.setattr("sys.argv", ["flow_run", *option])
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "00000000-0000-0000-0000-000000000000")
    assert flow_run.main() == 2
    assert f"is of the flow '{name}'; this worker runs" in capsys.readouterr().err


# What a run may choose: a number, a size, and where in a cluster it runs, within its rights.
CHOSEN = {"gpus", "mem_limit", "namespace", "claim", "cpu", "memory"}


def test_no_base_job_template_takes_a_command_or_an_image_from_a_run() -> None:
    """A run's job variables fill {{ name }}; what has no such place is the same for all runs."""
    files = sorted((REPO / "infra" / "job_templates").glob("*.json"))
    assert {file.stem for file in files} == {"process", "docker", "kubernetes"}
    for file in files:
        template = json.loads(file.read_text())
        places = {place.strip() for place in re.findall(r"\{\{([^}]*)\}\}", json.dumps(template))}
        secrets = {place for place in places if place.startswith("prefect.blocks.secret.hpt-")}
        assert places - secrets <= CHOSEN, file
        assert set(template["variables"].get("properties", {})) <= CHOSEN, file
