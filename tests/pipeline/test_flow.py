"""The flow on a toy project, with the real Prefect, DVC and MLflow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from processes import is_running
from waiting import wait_for

from pipelines import run
from pipelines.environment import SERVER_OF_RUN
from pipelines.orchestration.dag import load_stages
from pipelines.orchestration.process_group import CommandError, ProcessGroups
from pipelines.result import Result
from pipelines.tracking.dvc_lock import read_lock

REPO = Path(__file__).parents[2]


@dataclass
class Finished:
    """A toy project after a complete run, and what the run came to."""

    root: Path
    result: Result


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, make_toy: Callable[[Path], Path]
) -> Iterator[Finished]:
    root = make_toy(tmp_path_factory.mktemp("flow"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name in ("PREFECT_API_URL", SERVER_OF_RUN):
            patch.setenv(name, "")  # The run sets it to its own server, and the end of the block removes it.
        yield Finished(root, run.run())


@pytest.fixture
def runs(finished: Finished) -> Callable[[], list[Any]]:
    from pipelines.tracking.mlflow_store import Store

    store = Store(finished.root, "toy")
    return lambda: store.client.search_runs([store.experiment])


def began(root: Path) -> dict[str, float]:
    return {path.name: float(path.read_text()) for path in (root / "logs" / "began").iterdir()}


def ended(root: Path) -> dict[str, float]:
    return {path.name: float(path.read_text()) for path in (root / "logs" / "ended").iterdir()}


def states(flow_run_id: Any) -> dict[str, str]:
    """Task name -> name of its state on Prefect's server, once the server has processed all events."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import TaskRunSort

    selection = FlowRunFilter(id={"any_": [flow_run_id]})
    with get_client(sync_client=True) as client:
        for _ in range(100):
            tasks = client.read_task_runs(flow_run_filter=selection, sort=TaskRunSort.ID_DESC, limit=100)
            if all(run.state.is_final() or run.state_name == "NotReady" for run in tasks):
                break
            time.sleep(0.1)
        return {run.name: run.state_name for run in tasks}


def test_dag_of_dvc_yaml(finished: Finished) -> None:
    upstream = {stage.name: set(stage.upstream) for stage in load_stages(finished.root)}
    assert upstream == {
        "curate": set(),
        "base": {"curate"},
        "experts": {"curate", "base"},
        "train@program": {"curate", "base", "experts"},
        "train@human": {"curate", "base", "experts"},
        "evaluate_base": {"curate", "base"},
        "evaluate@program": {"curate", "train@program"},
        "evaluate@human": {"curate", "train@human"},
        "compare": {
            "train@program",
            "train@human",
            "evaluate_base",
            "evaluate@program",
            "evaluate@human",
        },
    }


def test_every_stage_is_a_task_and_runs_after_its_upstream_stages(finished: Finished) -> None:
    assert finished.result.verdict == "completed", finished.result.message
    stages = load_stages(finished.root)
    tasks = states(finished.result.flow_run)
    assert tasks == dict.fromkeys([*(s.name for s in stages), "publish", "register", "push"], "Completed")
    begin, end = began(finished.root), ended(finished.root)
    for stage in stages:
        assert all(end[name] <= begin[stage.name] for name in stage.upstream)


def test_independent_arms_run_side_by_side(finished: Finished) -> None:
    begin, end = began(finished.root), ended(finished.root)
    arms = ("train@program", "train@human")
    assert max(begin[arm] for arm in arms) < min(end[arm] for arm in arms)


def test_second_run_does_nothing(finished: Finished, runs: Callable[[], list[Any]]) -> None:
    before, published = began(finished.root), len(runs())
    result = run.run()
    assert result.verdict == "unchanged"
    assert began(finished.root) == before
    assert len(runs()) == published
    assert set(states(result.flow_run).values()) == {"Unchanged"}


def test_one_parent_and_a_child_for_each_policy(finished: Finished, runs: Callable[[], list[Any]]) -> None:
    key = str(finished.result.flow_run)
    [parent] = [run for run in runs() if run.data.tags.get("hpt.flow_run") == key]
    children = [run for run in runs() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    policies = {run.data.tags["provenance"]: run for run in children}
    assert sorted(policies) == ["base", "human", "program"]
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    assert "provenance" not in parent.data.tags
    assert policies["base"].data.metrics["eval/easy/avg_at_k"] == 1 / 8


def test_data_and_models_are_pushed(finished: Finished) -> None:
    out = read_lock(finished.root)["curate"]["outs"][0]["md5"]
    assert (finished.root / ".remote" / "files" / "md5" / out[:2] / out[2:]).exists()


def test_failing_stage_stops_downstream_stages_and_names_the_command_to_repeat(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = finished.root / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("seed: 7", "seed: 8"))
    monkeypatch.setenv("TOY_FAIL", "train@human")
    os.utime(finished.root / "stages.py")
    try:
        result = run.run()
    finally:
        params.write_text(text)
    assert (result.verdict, result.status) == ("failed", 1)
    assert "train@human: the reason why it fails" in result.message
    # On the terminal the stage has said so itself, just above.
    assert "the reason why it fails" not in result.lines
    assert "dvc repro --single-item train@human" in result.lines
    assert "not run: evaluate@human, compare" in result.lines
    tasks = states(result.flow_run)
    assert tasks["train@human"] == "Failed"
    assert (tasks["evaluate@human"], tasks["compare"]) == ("NotReady", "NotReady")
    # The other arm does not depend on the failed stage.
    assert (tasks["train@program"], tasks["evaluate@program"]) == ("Completed", "Completed")
    assert "register" not in tasks


def test_cancelled_run_leaves_no_process_behind(
    make_toy: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_toy(tmp_path / "toy")
    monkeypatch.setenv("TOY_HANG", "curate")
    command = [sys.executable, "-m", "pipelines.cli", "run"]
    with (tmp_path / "log").open("w") as log:
        run = subprocess.Popen(command, cwd=root, stdout=log, stderr=subprocess.STDOUT)
    child = root / "logs" / "child" / "curate"
    try:
        wait_for(lambda: run.poll() is not None or child.read_text(), seen=(tmp_path / "log").read_text)
    finally:
        run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=60) != 0
    assert not is_running(int(child.read_text())), "the stage's own child, which ignores SIGTERM, still runs"


@pytest.fixture
def groups() -> Iterator[ProcessGroups]:
    groups = ProcessGroups(grace=1)
    yield groups
    groups.close()


def test_command_failure_keeps_the_last_lines(groups: ProcessGroups, tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(CommandError) as caught:
        groups.run(["sh", "-c", "seq 100; exit 3"], tmp_path, lines.append)
    assert caught.value.status == 3
    assert caught.value.tail == [str(n) for n in range(71, 101)]
    assert lines == [str(n) for n in range(1, 101)]


def test_nothing_starts_once_closed(groups: ProcessGroups, tmp_path: Path) -> None:
    groups.close()
    with pytest.raises(CommandError, match="exit status"):
        groups.run(["touch", "started"], tmp_path, print)
    assert not (tmp_path / "started").exists()
