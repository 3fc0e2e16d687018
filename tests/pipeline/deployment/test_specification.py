"""The deployments as values: a worker must find the flow of each of them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from pipelines.deployment import prefect_file, triggers
from pipelines.deployment.specification import FLOWS, PoolType, deployments, pool_name
from pipelines.params import load_params
from pipelines.params.sections import FLOW_POOLS

REPO = Path(__file__).parents[3]


def test_a_worker_finds_the_flow_of_every_deployment() -> None:
    params = load_params(REPO / "params.yaml")
    inbox = {"bucket": "team", "prefix": "inbox/"}
    pools = {"train": "gpu", "train@teacher": "other", "base": "gpu"}
    made = deployments(params.model_copy(update={"inbox": inbox, "pools": pools}))
    assert {deployment.flow for deployment in made} == set(FLOWS)
    for name, entrypoint in FLOWS.items():
        module, attribute = entrypoint.rsplit(".", 1)
        assert getattr(import_module(module), attribute).name == name


def test_each_pool_of_stages_has_one_deployment_beside_the_slot_of_the_flow() -> None:
    params = load_params(REPO / "params.yaml")
    made = deployments(
        params.model_copy(update={"pools": {"train": "gpu", "train@teacher": "b", "base": "gpu"}})
    )
    of_stages = [deployment for deployment in made if deployment.pool]
    assert [(d.name, d.flow, d.pool, d.exclusive) for d in of_stages] == [
        ("stage-b", "hpt-stage", "b", False),
        ("stage-gpu", "hpt-stage", "gpu", False),
    ]
    types: list[PoolType] = ["process", "docker", "kubernetes"]
    assert [pool_name(pool_type) for pool_type in types] == list(FLOW_POOLS)


def test_a_stage_of_a_pool_alerts_through_its_flow_and_a_pool_without_a_worker_by_itself() -> None:
    whole = [flow for flow in FLOWS if flow != "hpt-stage"]
    for trigger in (triggers.failed_or_crashed(), triggers.not_taken(60)):
        assert trigger["match_related"]["prefect.resource.name"] == whole
    heartbeat = triggers.absence([triggers.HEARTBEAT], triggers.ANY, 60)
    assert heartbeat["match_related"]["prefect.resource.name"] == list(FLOWS)
    assert triggers.pool_not_ready(["gpu"])["match"]["prefect.resource.name"] == ["hpt*", "gpu"]


def test_prefect_yaml_is_current() -> None:
    assert (REPO / prefect_file.FILE).read_text() == prefect_file.text(load_params(REPO / "params.yaml"))
