"""A checkout that was moved or copied writes to its own folder, and reads what it had published before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.tracking.mlflow_store import Store


def test_a_moved_or_copied_checkout_has_its_artifacts_where_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    first, moved, copied = (tmp_path / name for name in ("a%' b", "moved", "copied"))
    first.mkdir()
    store = Store(first, "nights")
    run = store.client.create_run(store.experiment).info.run_id
    store.client.log_text(run, "what it was", "report.txt")
    first.rename(moved)
    shutil.copytree(moved, copied)
    for folder in (moved, copied):
        store = Store(folder, "nights")
        assert store.read_text(run, "report.txt") == "what it was"
        store.client.log_text(store.client.create_run(store.experiment).info.run_id, "new", "new.txt")
        assert [path.read_text() for path in folder.glob("mlartifacts/*/artifacts/new.txt")] == ["new"]
        assert str(folder) in store.client.get_run(run).info.artifact_uri
    assert not first.exists()
