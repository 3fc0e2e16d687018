"""`hpt deploy` on a real Prefect server, and what its deployments do there: the tests follow each other."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ruamel.yaml import YAML
from waiting import wait_for

from hpt_core.errors import InputError
from tests.pipeline.deployment.conftest import REPO, Site

pytestmark = pytest.mark.slow

NAMES = {
    "hpt/nightly",
    "hpt/retrain",
    "hpt-evaluation/evaluation",
    "hpt-promotion/promotion",
    "hpt-retention/retention",
}


def objects(site: Site) -> dict[str, Any]:
    """Everything that `hpt deploy` makes: name -> id, and when it was last changed."""
    deployments = {d["name"]: (d["id"], d["updated"]) for d in site.api.post("deployments/filter", {})}
    automations = {a["name"]: (a["id"], a["updated"]) for a in site.api.post("automations/filter", {})}
    pools = {p["name"]: (p["id"], p["base_job_template"]) for p in site.api.post("work_pools/filter", {})}
    blocks = {b["name"]: b["id"] for b in site.api.post("block_documents/filter", {})}
    limits = {entry["name"]: entry["id"] for entry in site.api.post("v2/concurrency_limits/filter", {})}
    return deployments | automations | pools | blocks | limits


def test_deploying_twice_changes_nothing(site: Site) -> None:
    first = site.hpt("deploy")
    assert all(name in first for name in NAMES)
    assert site.alerts.address not in first
    before = objects(site)
    assert site.hpt("deploy") == "nothing to change\n"
    after = objects(site)
    for made in (before, after):  # Polling and scheduling touch the deployments' rows.
        made |= {name: value[0] for name, value in made.items() if isinstance(value, tuple)}
    assert after == before

    nightly = site.api.get("deployments/name/hpt/nightly")
    [schedule] = nightly["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 2 * * *", "Europe/Berlin")
    assert nightly["description"] and nightly["parameters"] == {"workers": 2, "retries": 1}


def test_a_change_by_hand_is_set_back_and_a_paused_schedule_stays_paused(site: Site) -> None:
    nightly = site.api.get("deployments/name/hpt/nightly")
    [schedule] = nightly["schedules"]
    path, other = f"deployments/{nightly['id']}", {"type": "object", "properties": {}}
    site.api.post(f"{path}/schedules/{schedule['id']}", {"active": False}, "PATCH")
    site.api.post(path, {"description": "by hand", "tags": []}, "PATCH")
    template = {"job_configuration": {"command": "true"}, "variables": other}
    site.api.post("work_pools/hpt", {"base_job_template": template}, "PATCH")
    out = site.hpt("deploy")
    assert sorted(out.splitlines()) == ["changed: deployment hpt/nightly", "changed: work pool hpt"]
    restored = site.api.get("deployments/name/hpt/nightly")
    assert restored["description"] == nightly["description"]
    assert [entry["active"] for entry in restored["schedules"]] == [False]


def test_a_worker_elsewhere_runs_the_checkout_of_the_deployment(site: Site, tmp_path: Path) -> None:
    result = site.root / "metrics/eval/human.json"
    result.unlink()
    site.start_worker(tmp_path / "elsewhere", "prefect", "worker", "start", "--pool", "hpt")
    run = site.api.start("hpt/nightly")
    state = site.api.wait(run, "Completed", "Failed", "Crashed")
    # DVC has run the stage with these inputs before.
    assert (state["name"], "evaluate@human" in state["message"]) == ("Completed", True), state
    assert result.exists()

    [shown] = site.api.post("artifacts/latest/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
    assert shown["key"] == "hpt-results"
    assert "| program | 87.5% |" in shown["data"] and "hpt ui" in shown["data"]


@pytest.mark.slow
def test_evaluation_and_promotion_train_nothing(site: Site) -> None:
    trained = (site.root / "logs/ended/train@human").read_text()
    (site.root / "metrics/eval/program.json").unlink()
    state = site.api.wait(site.api.start("hpt-evaluation/evaluation"), "Completed", "Failed", "Crashed")
    assert (site.root / "metrics/eval/program.json").exists(), state
    run = site.api.start("hpt-promotion/promotion")
    state = site.api.wait(run, "Completed", "Unchanged", "Failed", "Crashed")
    assert state["type"] == "COMPLETED"
    assert (site.root / "logs/ended/train@human").read_text() == trained


@pytest.mark.slow
def test_retention_removes_old_runs_of_this_project_only(site: Site) -> None:
    """A run of another flow stays, as does one that is young enough."""
    ours, other = (site.api.post("flows/", {"name": name})["id"] for name in ("hpt", "somebody-else"))
    made = {}
    for flow in (ours, other):
        run = site.api.post("flow_runs/", {"flow_id": flow, "state": {"type": "PENDING"}})
        for state in ("RUNNING", "COMPLETED"):
            site.api.post(f"flow_runs/{run['id']}/set_state", {"state": {"type": state}, "force": True})
        made[flow] = run["id"]
    # Prefect's API refuses the time of a state.
    with closing(psycopg2.connect(host=site.database, user="hpt", dbname="postgres")) as prefect, prefect:
        cursor = prefect.cursor()
        cursor.execute(
            "update flow_run set end_time = '2020-01-01' where id::text = any(%s)", (list(made.values()),)
        )
        assert cursor.rowcount == 2
    young = len(site.api.post("flow_runs/filter", {"flows": {"id": {"any_": [ours]}}})) - 1
    kept = delete_in_mlflow(site.root, days_ago=10)
    delete_in_mlflow(site.root, days_ago=40)
    state = site.api.wait(site.api.start("hpt-retention/retention"), "Completed", "Failed", "Crashed")
    expected = "1 runs removed from Prefect; MLflow: 1 deleted runs removed for good"
    assert state["message"] == expected
    with closing(sqlite3.connect(site.root / "mlflow.db")) as database:
        deleted = database.execute("select run_uuid from runs where lifecycle_stage = 'deleted'").fetchall()
    assert deleted == [(kept,)]
    left = {run["id"] for run in site.api.post("flow_runs/filter", {"limit": 200})}
    assert made[other] in left and made[ours] not in left
    assert len(site.api.post("flow_runs/filter", {"flows": {"id": {"any_": [ours]}}})) == young


def delete_in_mlflow(root: Path, days_ago: int) -> str:
    """Id of a run that somebody deleted so many days ago."""
    from pipelines.tracking.mlflow_store import Store

    store = Store(root, "toy")
    run = store.create("deleted", {}).info.run_id
    store.client.delete_run(run)
    with closing(sqlite3.connect(root / "mlflow.db")) as database, database:
        when = int((time.time() - days_ago * 86400) * 1000)
        database.execute("update runs set deleted_time = ? where run_uuid = ?", (when, run))
    return run


def test_whoever_reaches_the_api_starts_no_other_command(site: Site, tmp_path: Path) -> None:
    """The worker of the checkout runs no pull step, entrypoint, job variable or template of somebody else."""
    site.stop_worker()
    site.start_worker(site.root, "pipelines.cli", "worker")
    planted = tmp_path / "planted"
    script = tmp_path / "evil.py"
    script.write_text(
        f"open({str(planted)!r}, 'w')\nfrom prefect import flow\n@flow(name='hpt')\ndef evil(): pass\n"
    )
    job = {"command": f"touch {planted}", "env": {"BASH_ENV": str(script)}, "working_dir": "/"}
    template = {"job_configuration": job, "variables": {"type": "object", "properties": {}}}
    site.api.post("work_pools/hpt", {"base_job_template": template}, "PATCH")
    flow = site.api.post("flows/", {"name": "evil"})
    made = site.api.post(
        "deployments/",
        {
            "name": "evil",
            "flow_id": flow["id"],
            "work_pool_name": "hpt",
            "entrypoint": f"{script}:evil",
            "pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": f"touch {planted}"}}],
            "job_variables": job,
        },
    )
    run = site.api.post(f"deployments/{made['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
    state = site.api.wait(run["id"], "Crashed", "Failed", "Completed")
    assert state["type"] == "CRASHED"
    assert not planted.exists()
    site.hpt("deploy")


def test_failure_sends_run_state_stage_and_address(site: Site) -> None:
    site.change_stages('if sys.argv[1] == "curate": sys.exit("the disk is \\"full\\" <here>")')
    run = site.api.start("hpt/nightly")
    site.api.wait(run, "Failed")
    name = site.api.get(f"flow_runs/{run}")["name"]
    text = site.alerts.wait("FAILED", name)
    assert "stage curate failed" in text and 'the disk is "full" <here>' in text
    assert f"/runs/flow-run/{run}" in text
    time.sleep(3)
    assert len([text for text in site.alerts.texts if name in text]) == 1, "an alert is sent once"
    # Prefect's engine would show the state again, with its own traceback, on the page of the run.
    logs = site.api.post("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200})
    shown = "\n".join(entry["message"] for entry in logs)
    assert "stage curate failed" in shown and "Traceback" not in shown
    assert "FailedRun" not in (site.root / "worker.log").read_text()


def test_an_overlapping_run_is_cancelled_or_queued_by_parameter(site: Site) -> None:
    """The two deployments share one slot."""
    site.change_stages('if sys.argv[1] == "curate": time.sleep(600)')
    first = site.api.start("hpt/nightly")
    wait_for((site.root / "logs/began/curate").exists)
    site.api.wait(first, "Running")
    second = site.api.start("hpt/retrain")
    state = site.api.wait(second, "Cancelled", "Running", "AwaitingConcurrencySlot", "Completed")
    assert state["name"] == "Cancelled" and "concurrency limit" in state["message"]

    params = site.root / "params.yaml"
    params.write_text(params.read_text().replace("  timezone:", "  overlap: queue\n  timezone:"))
    site.hpt("deploy")
    third = site.api.start("hpt/retrain")
    assert (
        site.api.wait(third, "Cancelled", "Running", "AwaitingConcurrencySlot", "Completed")["type"]
        == "SCHEDULED"
    )


def test_after_kill_of_worker_and_run_the_run_is_crashed_the_slot_free_and_the_alert_sent(site: Site) -> None:
    [run] = site.api.post("flow_runs/filter", {"flow_runs": {"state": {"name": {"any_": ["Running"]}}}})
    shorten(site, "no heartbeat", 10)
    ended = ended_run(site, "Unchanged")
    site.api.post("events", [heartbeat(run)])  # The next one of the run may be 30 s away.
    site.kill_worker()
    site.api.wait(run["id"], "Crashed")
    text = site.alerts.wait("CRASHED", run["name"])
    assert "no heartbeat" in text and run["id"] in text
    assert site.api.get("v2/concurrency_limits/hpt-training")["active_slots"] == 0
    # The server stores events a little later than it acts on them.
    wait_for(lambda: run["id"] in acted_on(site), seen=lambda: acted_on(site))
    assert ended not in acted_on(site)


def acted_on(site: Site) -> str:
    """What automations were triggered by, as JSON."""
    triggered = {"filter": {"event": {"name": ["prefect.automation.triggered"]}}}
    return json.dumps(site.api.post("events/filter", triggered)["events"])


def ended_run(site: Site, name: str) -> str:
    """Id of a run that has run and ended in the state `name`, as a flow with nothing to do does."""
    flow = site.api.post("flows/", {"name": "hpt"})["id"]
    run = site.api.post("flow_runs/", {"flow_id": flow, "state": {"type": "PENDING"}})["id"]
    for state in ({"type": "RUNNING"}, {"type": "COMPLETED", "name": name}):
        site.api.post(f"flow_runs/{run}/set_state", {"state": state})
    return str(run)


def heartbeat(run: dict[str, Any]) -> dict[str, Any]:
    """The event as Prefect's engine sends it for a run."""
    flow = {"prefect.resource.id": f"prefect.flow.{run['flow_id']}", "prefect.resource.role": "flow"}
    return {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run['id']}"},
        "related": [flow | {"prefect.resource.name": "hpt"}],
        "payload": {},
    }


def test_a_night_that_does_not_come_sends_an_alert(site: Site) -> None:
    """The wait begins with the deployment, so a server that never schedules anything is noticed."""
    from pipelines.deployment import apply

    [event] = site.api.post("events/filter", {"filter": {"event": {"name": ["hpt.schedule.deployed"]}}})[
        "events"
    ][:1]
    assert event["related"][0]["prefect.resource.role"] == "deployment"
    shorten(site, "alert of a missed night", 10)
    nightly = site.api.get("deployments/name/hpt/nightly")["id"]
    site.api.post("events", [apply.deployed_event(nightly)])
    assert "/deployments/deployment/" in site.alerts.wait("no nightly run has completed")


def shorten(site: Site, name: str, seconds: float) -> None:
    """Set the time of an automation below what params.yaml allows."""
    [automation] = [a for a in site.api.post("automations/filter", {}) if a["name"] == f"hpt: {name}"]
    automation["trigger"]["within"] = seconds
    body = {key: automation[key] for key in ("name", "description", "trigger", "actions", "enabled")}
    site.api.post(f"automations/{automation['id']}", body, "PUT")


@pytest.mark.slow
def test_prefect_deploy_takes_the_file(site: Site) -> None:
    """`prefect deploy` of infra/prefect.yaml gives deployments of the same names."""
    text = (REPO / "infra/prefect.yaml").read_text()
    names = {entry["name"] for entry in YAML(typ="safe").load(text)["deployments"]}
    assert names == {name.partition("/")[2] for name in NAMES}
    command = [
        sys.executable,
        "-m",
        "prefect",
        "--no-prompt",
        "deploy",
        "--prefect-file",
        "infra/prefect.yaml",
    ]
    finished = subprocess.run(
        [*command, "--all"],
        cwd=REPO,
        env=site.environment | {"PWD": str(REPO)},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    deployed = {f"{d['name']}" for d in site.api.post("deployments/filter", {})}
    assert names <= deployed
    assert os.environ.get("PREFECT_API_URL") is None


def test_a_server_that_stops_to_answer_is_one_line(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.deployment import server

    monkeypatch.setenv("PREFECT_API_URL", site.api.url)
    patience = dict(zip(server.PATIENCE, (3.0, 0), strict=True))
    monkeypatch.setattr(server, "PATIENCE", patience)
    message = r"no longer answers \(ReadTimeout\): start it again, then give the same command again"
    with pytest.raises(InputError, match=message), server.connect() as client, site.suspended():
        client.request("POST", "/automations/filter", json={})
    assert site.hpt("deploy")
