"""What a dead process left in MLflow is ended, what another checkout does is left alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.tracking.checkout import checkout_id
from pipelines.tracking.closing import close_dead_runs


def runs(root: Path) -> dict[str, Any]:
    """Name -> run."""
    from pipelines.tracking.mlflow_store import Store

    store = Store(root, "toy")
    return {run.info.run_name: run for run in store.client.search_runs([store.experiment])}


def train(monkeypatch: pytest.MonkeyPatch, root: Path, arm: str, flow_run: str) -> None:
    """The first step of an arm in a flow run whose process then dies."""
    from pipelines.tracking.live import LiveSink

    monkeypatch.setenv("HPT_FLOW_RUN", flow_run)
    monkeypatch.setenv("HPT_FLOW_RUN_NAME", flow_run)
    monkeypatch.chdir(root)
    LiveSink(arm, root).log(1, {"reward/mean": 0.1})


def test_what_a_dead_flow_run_left_is_killed_with_the_reason(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(monkeypatch, workspace, "program", "dead")
    train(monkeypatch, workspace, "human", "alive")
    assert sorted(close_dead_runs(workspace, "alive", "process 7 is gone")) == ["dead", "program"]
    after = runs(workspace)
    assert {name: run.info.status for name, run in after.items()} == {
        "dead": "KILLED",
        "program": "KILLED",
        "alive": "RUNNING",
        "human": "RUNNING",
    }
    for name in ("dead", "program"):
        assert after[name].data.tags["hpt.ended"] == "process 7 is gone"
        assert after[name].data.tags["mlflow.note.content"].endswith("process 7 is gone")
        assert after[name].info.end_time is not None
    assert sorted(close_dead_runs(workspace, None, "cancelled")) == ["alive", "human"]
    assert close_dead_runs(workspace, None, "cancelled") == []


def test_another_checkout_on_the_same_server_goes_on(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    shutil.copytree(workspace, other, symlinks=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace}/shared.db")
    train(monkeypatch, workspace, "program", "theirs")
    train(monkeypatch, other, "human", "ours")
    assert sorted(close_dead_runs(other, None, "gone")) == ["human", "ours"]
    after = runs(other)
    assert after["theirs"].info.status == after["program"].info.status == "RUNNING"
    assert close_dead_runs(workspace, "theirs", "gone") == []


def test_a_copy_of_a_checkout_is_another_one(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    known = checkout_id(first)
    shutil.copytree(first, tmp_path / "copy")
    assert checkout_id(tmp_path / "copy") != known
    moved = first.rename(tmp_path / "moved")
    assert checkout_id(moved) == known


def test_nothing_is_created_for_a_checkout_that_never_published(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "mlflow.db").unlink()
    assert close_dead_runs(workspace, None, "gone") == []
    assert not (workspace / "mlflow.db").exists()


def test_a_killed_run_that_is_completed_later_no_longer_says_killed(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.tracking.publish import publish

    train(monkeypatch, workspace, "program", "dead")
    close_dead_runs(workspace, None, "gone")
    assert publish(workspace, "next").completed == ["program"]
    after = runs(workspace)
    assert after["program"].info.status == after["next"].info.status == "FINISHED"
    assert after["program"].data.tags["mlflow.parentRunId"] == after["next"].info.run_id
    assert not {"hpt.ended", "mlflow.note.content"} & after["program"].data.tags.keys()
    assert after["dead"].info.status == "KILLED"
