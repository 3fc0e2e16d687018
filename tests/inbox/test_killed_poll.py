"""kill -9 between each two steps of a poll: nothing is lost, nothing is taken twice."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from inbox_project import Project, RunPoll, rows

from pipelines import environment

CORE = ("intend", "place", "receipt")
"""Always tested: the steps between which a file is in place and not yet accounted for."""
STEPS = [
    pytest.param(step, marks=[] if step in CORE else [pytest.mark.slow])
    for step in ("claim", "download", "check", "intend", "place", "receipt", "clean up")
]


def taken_once(project: Project) -> bool:
    """Whether the good file is in place with one receipt, and the bad one in quarantine with one."""
    return (
        project.outcomes() == {"crowd/good.jsonl": ["taken"], "crowd/bad.md": ["quarantined"]}
        and project.files() == ["inbox/crowd/good.jsonl"]
        and (project.root / "raw/data/inbox/crowd/good.jsonl").read_text() == rows(5)
        and project.names("crowd/") == ["crowd/good.jsonl"]
        and len(project.names("quarantine/")) == 2
        and project.names("claims/") == ["claims/conditions.json"]
        and not list((project.root / "checkpoints/inbox@poll").rglob("*.jsonl"))
    )


@pytest.mark.parametrize("step", STEPS)
def test_a_poll_killed_after_a_step(project: Project, run_poll: RunPoll, step: str) -> None:
    project.upload("crowd/good.jsonl", rows(5))
    assert run_poll(step).returncode == -9
    project.upload("crowd/bad.md", "not data")
    for _ in range(2):
        project.poll()
    assert taken_once(project)


@pytest.mark.parametrize(
    "step",
    [
        pytest.param("claim", marks=pytest.mark.slow),
        "quarantine",
        pytest.param("receipt", marks=pytest.mark.slow),
        pytest.param("clean up", marks=pytest.mark.slow),
    ],
)
def test_a_quarantine_killed_after_a_step(project: Project, run_poll: RunPoll, step: str) -> None:
    project.upload("crowd/bad.md", "not data")
    assert run_poll(step).returncode == -9
    project.upload("crowd/good.jsonl", rows(5))
    for _ in range(2):
        project.poll()
    assert taken_once(project)


@pytest.mark.usefixtures("own_environment")
def test_what_was_taken_before_a_kill_gets_to_dvc(
    project: Project, run_poll: RunPoll, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.prepare(project.root)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc"))
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=project.root, check=True)
    project.upload("crowd/good.jsonl", rows(5))
    assert run_poll("receipt").returncode == -9
    assert project.poll().versioned == ["raw/data/inbox.dvc"]
    status = subprocess.run(
        ["dvc", "status", "raw/data/inbox.dvc"], cwd=project.root, check=True, capture_output=True, text=True
    )
    assert "up to date" in status.stdout
    assert project.poll().versioned == []
