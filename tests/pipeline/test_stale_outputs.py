"""What a run removes of arms that params.yaml no longer has: only what DVC can bring back."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from pipelines.orchestration.dag import load_stages
from pipelines.orchestration.edited_outputs import keep_edited
from pipelines.orchestration.stale_outputs import remove_stale_outputs

GIT = ["git", "-c", "user.name=toy", "-c", "user.email=toy@example.org"]
ARMS = ["program"]
"""The toy's arms without `human`, whose outputs are stale."""
MODEL = Path("models/human")
OUTPUTS = {
    MODEL,
    Path("data/rollouts/human"),
    Path("data/eval/human.parquet"),
    Path("metrics/eval/human.json"),
    Path("metrics/train/human.jsonl"),
}


def drop_from_cache(root: Path) -> str:
    """Remove the cached object of a file of the stale model; returns its hash."""
    file = next(path for path in (root / MODEL).rglob("*") if path.is_file())
    name = hashlib.md5(file.read_bytes()).hexdigest()
    (root / ".dvc/cache/files/md5" / name[:2] / name[2:]).unlink()
    return name


def test_outputs_that_dvc_has_are_removed_and_come_back(workspace: Path) -> None:
    before = {path: path.read_bytes() for path in (workspace / MODEL).rglob("*") if path.is_file()}
    stale = remove_stale_outputs(workspace, ARMS)
    assert set(stale.removed) == OUTPUTS and not stale.kept
    assert not any((workspace / path).exists() for path in OUTPUTS)
    subprocess.run(["dvc", "checkout", "-q"], cwd=workspace, check=True)
    assert {path: path.read_bytes() for path in before} == before


def test_a_folder_of_the_user_is_left_alone_and_named(workspace: Path) -> None:
    (workspace / "models/mine").mkdir()
    (workspace / "models/mine/config.json").write_text('{"mine": true}')
    (workspace / "data/eval/notes.parquet").write_text("notes")
    stale = remove_stale_outputs(workspace, ARMS)
    assert (workspace / "models/mine/config.json").exists() and (
        workspace / "data/eval/notes.parquet"
    ).exists()
    assert set(stale.kept) == {Path("models/mine"), Path("data/eval/notes.parquet")}
    assert all("dvc.lock" in reason for reason in stale.kept.values())


def test_an_arms_name_does_not_make_a_folder_ours(workspace: Path) -> None:
    """The same bytes as an output, under a path that dvc.lock does not have them for."""
    (workspace / MODEL).rename(workspace / "models/copy")
    stale = remove_stale_outputs(workspace, ARMS)
    assert (workspace / "models/copy").exists() and Path("models/copy") in stale.kept


@pytest.mark.parametrize("name", ["notes.txt", "__pycache__/notes.txt"])
def test_an_edited_output_is_left_alone(workspace: Path, name: str) -> None:
    """A file that .dvcignore hides would be lost with the folder as well."""
    (workspace / ".dvcignore").write_text("**/__pycache__\n")
    note = workspace / MODEL / name
    note.parent.mkdir(exist_ok=True)
    note.write_text("by hand")
    stale = remove_stale_outputs(workspace, ARMS)
    assert note.read_text() == "by hand" and set(stale.kept) == {MODEL}
    assert set(stale.removed) == OUTPUTS - {MODEL}


def test_an_output_whose_cache_is_gone_is_left_alone(workspace: Path) -> None:
    drop_from_cache(workspace)
    stale = remove_stale_outputs(workspace, ARMS)
    assert (workspace / MODEL).exists() and set(stale.kept) == {MODEL}
    assert "not in DVC's cache" in stale.kept[MODEL]


def test_a_damaged_object_of_the_cache_proves_nothing(workspace: Path) -> None:
    name = drop_from_cache(workspace)
    (workspace / ".dvc/cache/files/md5" / name[:2] / name[2:]).write_text("damaged")
    assert set(remove_stale_outputs(workspace, ARMS).kept) == {MODEL}


def test_the_remote_stands_in_for_the_cache(workspace: Path) -> None:
    subprocess.run(["dvc", "push", "-q"], cwd=workspace, check=True)
    drop_from_cache(workspace)
    stale = remove_stale_outputs(workspace, ARMS)
    assert set(stale.removed) == OUTPUTS
    subprocess.run(["dvc", "pull", "-q", "--force"], cwd=workspace, check=True)
    assert (workspace / MODEL).is_dir()


def test_a_lock_file_of_an_earlier_commit_proves_an_output(workspace: Path) -> None:
    subprocess.run([*GIT, "add", "dvc.lock"], cwd=workspace, check=True)
    subprocess.run([*GIT, "commit", "-qm", "run"], cwd=workspace, check=True)
    (workspace / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    subprocess.run([*GIT, "commit", "-qam", "another"], cwd=workspace, check=True)
    assert set(remove_stale_outputs(workspace, ARMS).removed) == OUTPUTS


def test_an_output_of_an_arm_that_somebody_edited_is_kept_beside(workspace: Path) -> None:
    own = {path: path.read_bytes() for path in (workspace / MODEL).rglob("*") if path.is_file()}
    for time in ("first", "second"):
        (workspace / MODEL / "notes.txt").write_text(time)
        stages = load_stages(workspace)
        assert {stage.name: stage.edited for stage in stages if stage.edited} == {
            "train@human": (str(MODEL),)
        }
        [(name, kept)] = keep_edited(workspace, stages).items()
        assert name == MODEL and (workspace / kept / "notes.txt").read_text() == time
        subprocess.run(["dvc", "repro", "-q", "-s", "train@human"], cwd=workspace, check=True)
        assert {path: path.read_bytes() for path in own} == own and not (
            workspace / MODEL / "notes.txt"
        ).exists()
    assert (workspace / "logs/edited" / MODEL / "notes.txt").read_text() == "first"
    # A stage that is out of date for another reason removes what a killed one has left.
    (workspace / MODEL / "half").write_text("")
    params = (workspace / "params.yaml").read_text()
    (workspace / "params.yaml").write_text(params.replace("seed: 7", "seed: 8"))
    assert not any(stage.edited for stage in load_stages(workspace))
