"""dvc.lock after a run lists its stages as a bare `dvc repro` does, in whatever order they ended."""

from __future__ import annotations

from pathlib import Path

from dvc.utils.serialize import dumps_yaml, loads_yaml

from pipelines.orchestration.dag import load_stages, order_lock


def test_order_in_the_lock_file_is_that_of_a_bare_repro(workspace: Path) -> None:
    path = workspace / "dvc.lock"
    reproduced = path.read_text()
    lock = loads_yaml(reproduced)
    lock["stages"] = dict(reversed(lock["stages"].items()))
    path.write_text(dumps_yaml(lock))
    assert path.read_text() != reproduced
    order_lock(workspace, load_stages(workspace))
    assert path.read_text() == reproduced
