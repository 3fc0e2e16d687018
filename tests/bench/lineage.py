"""The time of `hpt lineage` for 1,000 published arms, each trained on 2,400 of 4,000 trajectories.

The runs are real runs in MLflow on SQLite, with artifacts and model versions; only DVC and training are left
out. The times are those of the whole command, including the start of Python.
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

from pipelines.tracking.lineage.index import Index, ModelLineage, SourceContribution
from pipelines.tracking.run_layout import COMPLETE_TAG, LINEAGE_TAG, MODEL_LINEAGE_FILE, TRAINED_ON_FILE
from tests.bench.table import REPETITIONS, seconds, show

RUNS, TRAJECTORIES, TRAINED = 1000, 4000, 2400


def queries(_: Path | None) -> None:
    from pipelines import environment

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        environment.prepare(root)
        (root / "params.yaml").write_bytes(Path("params.yaml").read_bytes())
        start = time.perf_counter()
        _publish(root)
        published = time.perf_counter() - start
        timings = {
            "hpt lineage --trajectory ID": _run_command(root, ["--trajectory", "t7"]),
            "hpt lineage VERSION": _run_command(root, [str(RUNS // 2)]),
        }
        index = Index(root, "hpt")
        size = index.path.stat().st_size
        index.path.unlink()
        timings["the first after the index was lost"] = _run_command(root, ["--trajectory", "t7"], 1)
    show(
        f"lineage over {RUNS} runs, published in {published:.0f} s; the index has {size / 2**20:.0f} MiB",
        ["question", "whole command"],
        [[question, seconds(values)] for question, values in timings.items()],
    )


def _run_command(root: Path, question: list[str], times: int = REPETITIONS) -> list[float]:
    """Seconds of each of `times` runs of `hpt lineage`."""
    command = [sys.executable, "-m", "pipelines.cli", "lineage", *question]
    env = os.environ | {"PYTHONPATH": str(Path.cwd())}
    timings = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run(command, cwd=root, env=env, check=True, capture_output=True)
        timings.append(time.perf_counter() - start)
    return timings


def _publish(root: Path) -> None:
    from mlflow.entities import Metric, Param

    from pipelines.tracking.lineage.synchronisation import index_of
    from pipelines.tracking.mlflow_store import Store
    from pipelines.tracking.run_writer import RunWriter

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
        contribution = SourceContribution(
            "human", "people", "team", "MIT", TRAJECTORIES, TRAINED, sum(times.values())
        )
        dvc = {f"path/{i}": f"{i:032x}" for i in range(40)}
        lineage = ModelLineage("human", name, "embedded", name[:40], params, dvc, [], [contribution])
        store.client.log_text(run.info.run_id, lineage.to_json(), MODEL_LINEAGE_FILE)
        store.client.log_text(run.info.run_id, json.dumps(times), TRAINED_ON_FILE)
        for tag in (LINEAGE_TAG, COMPLETE_TAG):
            store.client.set_tag(run.info.run_id, tag, "true")
        model = RunWriter(store, run).model("human", 10, {"arm": "human"})
        store.client.create_model_version("hpt-policy", f"models:/{model}", run.info.run_id, model_id=model)
        store.end(run, "FINISHED")
        index_of(store).add([(run.info.run_id, lineage, times)])
        index_of(store).register("hpt-policy", [(number + 1, run.info.run_id)])
