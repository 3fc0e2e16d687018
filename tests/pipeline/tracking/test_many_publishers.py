"""Eight checkouts publish to one MLflow on PostgreSQL at the same time: nothing is lost, nothing doubled."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import postgres_server

PUBLISHERS, OWN, SHARED = 8, 24, 8
"""Arms that each publishes alone, and arms that all of them publish at once: 200 in total."""

PUBLISH = """
import dataclasses, hashlib, sys
from pathlib import Path
from pipelines import environment
root, number, own, shared = Path.cwd(), int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
environment.prepare(root)
from pipelines.tracking import dvc_lock, publish, run_data
from pipelines.tracking.evaluation_data import read_evaluation
from pipelines.tracking.mlflow_store import Store
from pipelines.tracking.run_hierarchy import ParentRun
lock = dvc_lock.read_lock(root)
record = run_data.describe(root, "program", lock["train@program"], lock)
evaluation = read_evaluation(root, "program", lock)
store = Store(root, "toy")
parent = ParentRun(store, root, f"night-{number}")
for name in [*(f"shared-{i}" for i in range(shared)), *(f"{number}-{i}" for i in range(own))]:
    content = hashlib.sha256(name.encode()).hexdigest()
    arm = dataclasses.replace(record, content=content)
    publish._publish_arm(store, root, parent, arm, evaluation, lock)
if parent.find():
    parent.close("FINISHED")
"""


@pytest.fixture
def database() -> Iterator[str]:
    """A PostgreSQL server of its own; the URI of its database."""
    with postgres_server() as folder:
        yield f"postgresql+psycopg2://hpt@/postgres?host={folder}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_runs_from_eight_checkouts(
    reproduced: Path, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.tracking.mlflow_store import Store

    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    roots = [tmp_path / str(number) / "toy" for number in range(PUBLISHERS)]
    for root in roots:
        shutil.copytree(reproduced, root, symlinks=True)
    # MLflow itself cannot create its tables from two processes at once; `hpt stack` has done so.
    store = Store(roots[0], "elsewhere")
    start = time.monotonic()
    publishers = [
        subprocess.Popen(
            [sys.executable, "-c", PUBLISH, str(number), str(OWN), str(SHARED)],
            cwd=root,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, root in enumerate(roots)
    ]
    for publisher in publishers:
        _, errors = publisher.communicate(timeout=1500)
        assert publisher.returncode == 0, errors
    took = time.monotonic() - start
    store = Store(roots[0], "toy")
    runs = store.tagged({"provenance": "program"})
    print(f"{len(runs)} runs from {PUBLISHERS} processes in {took:.0f} s, {len(runs) / took:.1f} a second")
    assert len(runs) == PUBLISHERS * OWN + SHARED == 200
    assert set(Counter(run.data.tags["content"] for run in runs).values()) == {1}
    for run in runs:
        assert (run.info.status, run.data.tags.get("content.complete")) == ("FINISHED", "true")
        steps = [point.step for point in store.client.get_metric_history(run.info.run_id, "reward/mean")]
        assert sorted(steps) == [1, 2, 3], run.data.tags["content"]
