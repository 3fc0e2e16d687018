"""`hpt lineage` where 1,000 arms are published, each trained on 2,400 of 4,000 trajectories.

The runs are real ones in MLflow on SQLite, with their artifacts and versions; only DVC and training are left
out. Seconds are those of the whole command, Python's start included.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipelines.tracking.lineage_index import (
    MODEL_LINEAGE,
    TRAINED_ON,
    Index,
    ModelLineage,
    SourceContribution,
)
from tests.bench.table import REPETITIONS, seconds, show

RUNS, TRAJECTORIES, TRAINED = 1000, 4000, 2400


def queries(_: Path | None) -> None:
    from pipelines import environment

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        environment.prepare(root)
        (root / "params.yaml").write_bytes(Path("params.yaml").read_bytes())
        began = time.perf_counter()
        _publish(root)
        published = time.perf_counter() - began
        taken = {
            "hpt lineage --trajectory ID": _asked(root, ["--trajectory", "t7"]),
            "hpt lineage VERSION": _asked(root, [str(RUNS // 2)]),
        }
        index = Index(root, "hpt")
        size = index.path.stat().st_size
        index.path.unlink()
        taken["the first after the index was lost"] = _asked(root, ["--trajectory", "t7"], 1)
    show(
        f"lineage over {RUNS} runs, published in {published:.0f} s; the index has {size / 2**20:.0f} MiB",
        ["question", "whole command"],
        [[question, seconds(spent)] for question, spent in taken.items()],
    )


def _asked(root: Path, question: list[str], times: int = REPETITIONS) -> list[float]:
    """Seconds, `times` over."""
    command = [sys.executable, "-m", "pipelines.cli", "lineage", *question]
    env = os.environ | {"PYTHONPATH": str(Path.cwd())}
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, cwd=root, env=env, check=True, capture_output=True)
        spent.append(time.perf_counter() - began)
    return spent


def _publish(root: Path) -> None:
    from mlflow.entities import Metric, Param

    from pipelines.tracking.mlflow_store import COMPLETE, LINEAGE, Store

    store, rng = Store(root, "hpt"), random.Random(0)
    store.client.create_registered_model("hpt-policy")
    params = {f"train.option_{i}": str(i) for i in range(60)}
    metrics = [Metric(f"metric/{i}", float(i), 0, step) for i in range(30) for step in range(10)]
    for number in range(RUNS):
        name = f"{number:064x}"
        tags = {"provenance": "human", "recipe": "embedded", "git.commit": name[:40], "content": name}
        run = store.create("human", tags)
        store.client.log_batch(run.info.run_id, metrics, [Param(k, v) for k, v in params.items()])
        times = {f"t{i}": rng.randint(1, 9) for i in sorted(rng.sample(range(TRAJECTORIES), TRAINED))}
        share = SourceContribution(
            "human", "people", "team", "MIT", TRAJECTORIES, TRAINED, sum(times.values())
        )
        dvc = {f"path/{i}": f"{i:032x}" for i in range(40)}
        made = ModelLineage("human", name, "embedded", name[:40], params, dvc, [], [share])
        store.client.log_text(run.info.run_id, made.to_json(), MODEL_LINEAGE)
        store.client.log_text(run.info.run_id, json.dumps(times), TRAINED_ON)
        for tag in (LINEAGE, COMPLETE):
            store.client.set_tag(run.info.run_id, tag, "true")
        model = store.model(run, "human", 10, {"arm": "human"})
        store.client.create_model_version("hpt-policy", f"models:/{model}", run.info.run_id, model_id=model)
        store.end(run, "FINISHED")
        store.index().add([(run.info.run_id, made, times)])
        store.index().register("hpt-policy", {number + 1: run.info.run_id})
