"""The deployments as values: a worker must find the flow of each of them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from pipelines.deployment import prefect_file
from pipelines.deployment.specification import FLOWS, deployments
from pipelines.params import load_params

REPO = Path(__file__).parents[3]


def test_a_worker_finds_the_flow_of_every_deployment() -> None:
    params = load_params(REPO / "params.yaml")
    inbox = {"bucket": "team", "prefix": "inbox/"}
    made = deployments(params.model_copy(update={"inbox": inbox}))
    assert {deployment.flow for deployment in made} == set(FLOWS)
    for name, entrypoint in FLOWS.items():
        module, attribute = entrypoint.rsplit(".", 1)
        assert getattr(import_module(module), attribute).name == name


def test_prefect_yaml_is_current() -> None:
    assert (REPO / prefect_file.FILE).read_text() == prefect_file.text(load_params(REPO / "params.yaml"))
