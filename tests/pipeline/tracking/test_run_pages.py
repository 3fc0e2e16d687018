"""What MLflow's page of a flow run shows, and reports/latest.html: report, figures, verdicts and links."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from published_runs import runs

from pipelines import paths
from pipelines.tracking.mlflow_errors import TrackingError


@pytest.fixture
def toy(workspace: Path) -> Path:
    return workspace


def latest(root: Path) -> str:
    return (root / paths.LATEST_REPORT).read_text(encoding="utf-8")


def test_the_report_of_a_run_says_when_and_from_which_commit(toy: Path) -> None:
    from pipelines.tracking.mlflow_store import Store
    from pipelines.tracking.publish import publish

    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=toy, check=True, capture_output=True, text=True)
    publish(toy, "night")
    page = latest(toy)
    assert re.search(r"<dt>Date</dt> <dd>20\d\d-\d\d-\d\d \d\d:\d\d", page)
    assert f"<dt>Commit</dt> <dd>{head.stdout[:12]}<" in page
    assert "<dt>Recipe</dt> <dd>toy<" in page and "<dt>Run in MLflow</dt> <dd>hpt ui<" in page
    [parent] = runs(toy, **{"hpt.flow_run": "night"})
    assert Store(toy, "toy").read_text(parent.info.run_id, "report/provenance.html") == page
    publish(toy, "a night with nothing to do")
    assert latest(toy) == page


def test_the_report_is_of_this_run_while_mlflow_is_down(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.tracking.publish import publish

    (toy / paths.LATEST_REPORT).write_text("of the night before")
    os.utime(toy / paths.LATEST_REPORT, (0, 0))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError):
        publish(toy, "failed", status="FAILED")
    assert latest(toy) == "of the night before"
    with pytest.raises(TrackingError):
        publish(toy, "night")
    assert "<dt>Date</dt>" in latest(toy) and "MLflow" not in latest(toy)


def test_policies_have_the_colours_of_the_report(toy: Path) -> None:
    from pipelines.report.page import TEMPLATES
    from pipelines.tracking.pages.standing import COLOURS
    from pipelines.tracking.publish import publish

    light = (TEMPLATES / "colours.css").read_text().partition("@media")[0]
    assert re.findall(r"--c\d: (#\w+)", light) == list(COLOURS)
    publish(toy, "night")
    colours = [runs(toy, provenance=policy)[0].data.tags["mlflow.runColor"] for policy in ("base", "human")]
    assert colours == list(COLOURS[:2])


def test_arms_are_side_by_side_in_the_flow_run(toy: Path) -> None:
    from pipelines.tracking.mlflow_store import Store
    from pipelines.tracking.publish import publish

    publish(toy, "night")
    [parent] = runs(toy, **{"hpt.flow_run": "night"})
    store = Store(toy, "toy")
    table = json.loads(store.read_text(parent.info.run_id, "samples.json"))
    first = dict(zip(table["columns"], table["data"][0], strict=True))
    assert first["problem"] == "0 - 0 + 2 = ?"
    assert (first["base: correct"], first["program: correct"], first["human: correct"]) == (True, True, True)
    last = dict(zip(table["columns"], table["data"][5], strict=True))
    assert (last["base: correct"], last["program: correct"], last["human: correct"]) == (False, True, False)
    page = f"#/experiments/{store.experiment}/runs/{parent.info.run_id}/artifacts/report/provenance.html"
    assert parent.data.tags["mlflow.note.content"].splitlines() == [
        f"- [The whole report]({page})",
        "- On easy, program beats human by 37.5 points.",
    ]
    report = {item.path for item in store.client.list_artifacts(parent.info.run_id, "report")}
    assert report == {"report/provenance.html", "report/compare.json"}


def figures(root: Path, run: Any) -> dict[str, str]:
    """The figures of a run by name."""
    from pipelines.tracking.mlflow_store import Store

    store, run_id = Store(root, "toy"), run.info.run_id
    files = [item.path for item in store.client.list_artifacts(run_id, "figures")]
    return {Path(file).name: store.read_text(run_id, file) for file in files}


def test_the_figures_of_the_report_are_artifacts(toy: Path) -> None:
    from pipelines.report.figures import arm_figures
    from pipelines.report.figures import figures as comparison_figures
    from pipelines.tracking.publish import publish

    publish(toy, "night")
    [parent] = runs(toy, **{"hpt.flow_run": "night"})
    [arm] = runs(toy, provenance="human")
    published = figures(toy, parent)
    assert published == {f"{name}.svg": svg for name, svg in comparison_figures(toy).items()}
    assert {"accuracy-easy.svg", "sources-easy.svg", "reward_mean.svg", "gate.svg"} <= published.keys()
    assert figures(toy, arm) == {f"{name}.svg": svg for name, svg in arm_figures(toy, "human").items()}
    assert all(svg.startswith("<svg") for svg in published.values())


def test_figures_of_an_outdated_comparison_are_left_out(toy: Path, caplog: pytest.LogCaptureFixture) -> None:
    from pipelines.tracking.publish import publish

    path = toy / "metrics/compare.json"
    comparison = json.loads(path.read_text())
    path.unlink()  # DVC's cache may share the file.
    path.write_text(json.dumps(comparison | {"arms": ["human", "removed"]}))
    assert publish(toy, "night").created == ["program", "human"]
    [parent] = runs(toy, **{"hpt.flow_run": "night"})
    assert figures(toy, parent) == {}
    assert "removed.json: not found" in caplog.text
