"""The night after: what a killed or unpublished flow run leaves belongs to the run that finishes it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hpt_core.errors import InputError
from pipelines.tracking.mlflow_errors import TrackingError

DOWN = "http://127.0.0.1:9"


def runs(root: Path) -> list[Any]:
    from pipelines.tracking.mlflow_store import Store

    store = Store(root, "toy")
    return list(store.client.search_runs([store.experiment]))


def parent_of(root: Path, flow_run: str) -> Any:
    [parent] = [run for run in runs(root) if run.data.tags.get("hpt.flow_run") == flow_run]
    return parent


def below(root: Path, parent: Any) -> list[str]:
    """Provenances of the finished runs below a parent."""
    return sorted(
        run.data.tags["provenance"]
        for run in runs(root)
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id and run.info.status == "FINISHED"
    )


def test_the_base_is_a_run_of_its_own_in_the_same_table(workspace: Path) -> None:
    from pipelines.tracking.publish import publish

    publish(workspace, "night")
    parent = parent_of(workspace, "night")
    assert below(workspace, parent) == ["base", "human", "program"]
    assert parent.data.metrics == {}, "its page and the charts show policies alone"
    [base] = [run for run in runs(workspace) if run.data.tags.get("provenance") == "base"]
    assert base.data.metrics["eval/easy/avg_at_k"] == 1 / 8
    assert base.data.metrics["accuracy/easy"] == 12.5
    assert base.data.tags["accuracy.easy"] == "12.5% (2.5 to 22.5)"
    assert base.data.params["provenance"] == "base"
    assert not any(key.endswith(("/k", "/n_prompts")) for run in runs(workspace) for key in run.data.metrics)
    assert base.data.tags["eval.easy.k"] == "8"


def test_a_parent_that_was_killed_hands_over_what_is_complete(workspace: Path) -> None:
    """kill -9 between the last arm and the end of the publication."""
    from pipelines.tracking.closing import close_dead_runs
    from pipelines.tracking.mlflow_store import Store
    from pipelines.tracking.publish import publish

    publish(workspace, "killed")
    Store(workspace, "toy").client.update_run(parent_of(workspace, "killed").info.run_id, status="RUNNING")
    assert close_dead_runs(workspace, "next", "process 7 is gone") == ["killed"]
    done = publish(workspace, "next")
    assert (done.moved, done.changed) == (["program", "human"], True)
    parent = parent_of(workspace, "next")
    assert done.parent == parent.info.run_id
    assert below(workspace, parent) == ["base", "human", "program"]
    assert below(workspace, parent_of(workspace, "killed")) == []
    assert len(runs(workspace)) == 5, "nothing is doubled"
    assert not publish(workspace, "third").changed


def test_an_arm_that_did_not_change_is_named_by_the_comparison(workspace: Path) -> None:
    from pipelines.tracking.publish import publish

    publish(workspace, "first")
    path = workspace / "params.yaml"
    text = path.read_text()
    path.write_text(text.replace("human: {mix: {human: 1.0}}", "human: {mix: {human: 0.5}}"))
    assert path.read_text() != text
    subprocess.run(["dvc", "repro", "-q"], cwd=workspace, check=True)
    done = publish(workspace, "second")
    assert (done.created, done.unchanged) == (["human"], ["program"])
    parent = parent_of(workspace, "second")
    assert below(workspace, parent) == ["base", "human"]
    [program] = [run for run in runs(workspace) if run.data.tags.get("provenance") == "program"]
    link = f"[program](#/experiments/{program.info.experiment_id}/runs/{program.info.run_id})"
    assert f"- {link} did not change" in parent.data.tags["mlflow.note.content"]
    shown = [run for run in runs(workspace) if run.data.tags.get("hpt.comparison") == parent.info.run_id]
    assert sorted(run.data.tags.get("provenance", "") for run in shown) == ["", "base", "human", "program"]
    assert below(workspace, parent_of(workspace, "first")) == ["base", "human", "program"]


def test_mlflow_that_was_down_at_the_end_gets_one_whole_run_later(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.tracking.closing import close_dead_runs
    from pipelines.tracking.live import LiveSink
    from pipelines.tracking.publish import publish

    monkeypatch.setenv("HPT_FLOW_RUN", "night")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    LiveSink("program").log(1, {"reward/mean": 0.1, "gate/sft": 3})
    with monkeypatch.context() as down:
        down.setenv("MLFLOW_TRACKING_URI", DOWN)
        with pytest.raises(TrackingError, match="connection refused; start it, or correct"):
            publish(workspace, "night", "brave-otter")
    close_dead_runs(workspace, None, "found by hpt publish")
    assert parent_of(workspace, "night").info.status == "KILLED"
    assert publish(workspace).completed == ["program"]
    parent = parent_of(workspace, "night")
    assert (parent.info.status, below(workspace, parent)) == ("FINISHED", ["base", "human", "program"])
    assert "hpt.ended" not in parent.data.tags
    assert len(runs(workspace)) == 4
    assert publish(workspace).parent is None, "nothing is left to publish"


def test_the_next_night_completes_what_the_last_could_not_publish(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.tracking.publish import publish

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with monkeypatch.context() as down:
        down.setenv("MLFLOW_TRACKING_URI", DOWN)
        with pytest.raises(TrackingError):
            publish(workspace, "first", "brave-otter")
    assert publish(workspace, "second").created == ["program", "human"]
    named = [run for run in runs(workspace) if run.info.run_name == "brave-otter"]
    assert [run.data.tags["hpt.flow_run"] for run in named] == ["first"]


@pytest.mark.slow
def test_a_comparison_over_seeds_finds_its_baseline_or_names_it(workspace: Path) -> None:
    from pipelines.tracking.comparison.seeds import print_comparison
    from pipelines.tracking.mlflow_store import Store
    from pipelines.tracking.publish import publish

    publish(workspace, "seed7")
    path = workspace / "params.yaml"
    path.write_text(path.read_text().replace("seed: 7\n", "seed: 8\n"))
    subprocess.run(["dvc", "repro", "-q"], cwd=workspace, check=True)
    publish(workspace, "seed8")
    store = Store(workspace, "toy")

    def compared() -> str:
        console = Console(width=120)
        with console.capture() as captured:
            print_comparison(console, workspace, 5000)
        return " ".join(captured.get().split())

    assert "seeds 7, 8" in compared() and "base \u2013 12.5%" in compared()
    # Wherever it is: the parents are gone, as after a kill or a retention.
    for flow_run in ("seed7", "seed8"):
        store.client.delete_run(parent_of(workspace, flow_run).info.run_id)
    assert "base \u2013 12.5%" in compared()
    for run in runs(workspace):
        if run.data.tags.get("provenance") == "base":
            store.client.delete_run(run.info.run_id)
    with pytest.raises(InputError, match="seed 7: no evaluation of its starting policy is published"):
        compared()


def test_the_same_weights_make_no_new_version(workspace: Path) -> None:
    from pipelines.tracking.mlflow_store import Store
    from pipelines.tracking.publish import publish
    from pipelines.tracking.registry import register

    publish(workspace, "first")
    register(workspace)
    path = workspace / "params.yaml"
    path.write_text(path.read_text().replace("human: {mix: {human: 1.0}}", "human: {mix: {human: 0.5}}"))
    subprocess.run(["dvc", "repro", "-q"], cwd=workspace, check=True)
    publish(workspace, "second")
    assert register(workspace).versions == {"program": "1", "human": "2"}
    assert not register(workspace).changed
    client = Store(workspace, "toy").client
    assert len(client.search_model_versions("name='toy'")) == 2
    version = client.get_model_version("toy", "2")
    again = [key for key in version.tags if key.startswith("same_weights.")]
    assert len(again) == 1 and "(arm human) has the same weights" in str(version.description)
    promoted = client.get_model_version("toy", "1")
    assert str(promoted.description).startswith("Arm program of recipe toy, seed 7; commit ")
    assert "**Promotion gate:** promoted: against the starting policy" in str(promoted.description)
    assert promoted.tags["mlflow.user"]


def test_the_commit_is_that_of_the_start(workspace: Path) -> None:
    from pipelines.tracking.source import NO_GIT, present_source, record_source, source_of

    clean = record_source(workspace, "night")
    assert not clean.commit.endswith("-dirty") and clean.diff == "", "dvc.lock is what the run itself writes"
    (workspace / "new_code.py").write_text("print(1)")
    dirty = present_source(workspace)
    assert dirty.commit == f"{clean.commit}-dirty" and len(dirty.diff) == 64
    (workspace / "new_code.py").write_text("print(2)")
    assert present_source(workspace).diff != dirty.diff
    assert source_of(workspace, "night") == clean
    assert source_of(workspace, "another") == present_source(workspace)
    shutil.rmtree(workspace / ".git")
    assert (present_source(workspace).commit, present_source(workspace).diff) == (NO_GIT, "")


def test_settings_that_are_longer_than_a_tag_are_a_file(workspace: Path) -> None:
    from pipelines.tracking.mlflow_store import Store
    from pipelines.tracking.publish import publish
    from pipelines.tracking.run_writer import RunWriter

    publish(workspace, "night")
    store = Store(workspace, "toy")
    [run] = [run for run in runs(workspace) if run.data.tags.get("provenance") == "human"]
    settings = {f"benchmark_{i}": {"k": 4, "hash": "a" * 64} for i in range(100)}
    RunWriter(store, run).settings(settings)
    assert store.read_measurement(store.client.get_run(run.info.run_id)).settings == settings
