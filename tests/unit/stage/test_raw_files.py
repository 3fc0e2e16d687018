"""Whether DVC sees a file, a folder, a pattern or a link change, and the warning where it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.orchestration.raw_files import unversioned
from pipelines.stage.raw_files import DATA, warn_unseen

REPO = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("raw/data/a.jsonl", "raw/data/shards/a.jsonl", "raw/data/linked/a.jsonl", "other/b.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}\n")
    (tmp_path / "raw/data/linked/b.jsonl").symlink_to(tmp_path / "other/b.jsonl")
    (tmp_path / "raw/data/folder").symlink_to(tmp_path / "other")
    return tmp_path


@pytest.mark.parametrize(
    "file",
    ["raw/data/a.jsonl", "raw/data/shards", "raw/data/shards/", "raw/data/shards/*.jsonl", "raw/data/absent"],
)
def test_what_dvc_sees_is_no_warning(project: Path, caplog: pytest.LogCaptureFixture, file: str) -> None:
    warn_unseen("curate", [file, f"{project}/{file}", None])
    assert not caplog.records


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("other/b.jsonl", "other/b.jsonl"),
        ("other", "other"),
        ("other/*.jsonl", "other/b.jsonl"),
        ("raw/data/linked", "raw/data/linked/b.jsonl"),
        ("raw/data/linked/*.jsonl", "raw/data/linked/b.jsonl"),
        ("raw/data/folder", "raw/data/folder"),
        ("raw/data/f*/*.jsonl", "raw/data/folder/b.jsonl"),
    ],
)
def test_what_dvc_does_not_see_is_named(
    project: Path, caplog: pytest.LogCaptureFixture, file: str, named: str
) -> None:
    warn_unseen("curate", [file])
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{named} is outside of {DATA}, so a change of it re-runs no stage")


def test_a_file_on_a_server_names_the_stage_to_run(caplog: pytest.LogCaptureFixture) -> None:
    warn_unseen("experts", ["s3://bucket/shards/*.jsonl"])
    assert "s3://bucket/shards/*.jsonl: when it changes, run `dvc repro --force experts`" in caplog.text


def test_no_folder_below_raw_data_is_left_out_of_its_digest() -> None:
    shards = [f"raw/data/{name}/part-0.jsonl" for name in ("tests", "logs", "mlruns", "mine/.venv")]
    command = [sys.executable, "-m", "dvc", "check-ignore", *shards, "tests/dvc.yaml"]
    ignored = subprocess.run(command, cwd=REPO, capture_output=True, text=True).stdout.split()
    assert ignored == ["tests/dvc.yaml"]


def test_files_that_nobody_versions_are_named(tmp_path: Path) -> None:
    def make(*names: str) -> None:
        for name in names:
            path = tmp_path / "raw" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    assert unversioned(tmp_path) == [], "no git"
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    make("data/.gitkeep", "data/mine.jsonl", "data/whole/a.jsonl", "data/part/a.jsonl", "data/part/b.jsonl")
    make("data/added.jsonl", "data/added.jsonl.dvc", "data/folder.dvc", "data/folder/a.jsonl", "models/own/x")
    make("data/part/a.jsonl.dvc", "data/in git.jsonl")
    subprocess.run(["git", "add", "raw/data/in git.jsonl"], cwd=tmp_path, check=True)
    assert unversioned(tmp_path) == [
        "raw/data/mine.jsonl",
        "raw/data/part/b.jsonl",
        "raw/data/whole",
        "raw/models/own",
    ]
