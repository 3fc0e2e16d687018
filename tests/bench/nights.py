"""The time of what people look at after 1,000 nights: `hpt compare`, `publish`, `lineage`, MLflow's page.

One night of the toy project is published as it is in use. The others are copies of its rows, each with ids of
its own; they share its artifacts. The last nights differ in the seed alone, as `hpt compare` pools them. The
times are those of whole commands, including the start of Python. MLFLOW_TRACKING_URI may name a database;
the default is SQLite.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hpt_core.errors import InputError
from tests.bench.table import REPETITIONS, seconds, show
from tests.toy_project import make_toy

NIGHTS = 1000
STEPS, METRICS = 50, 40
"""The size of the log of an arm, as that of recipe `embedded`."""
SEEDS = 5
"""Nights that are pooled."""

# A run's id has 32 digits. A copy has the number of its night in place of the last ones.
_ID = "substr({0}, 1, length({0}) - 6) || night.digits"
_RUN = _ID.format("run_uuid")
_CHANGED_TAGS = ("mlflow.parentRunId", "hpt.comparison", "hpt.flow_run", "content")
_COPIES: Mapping[str, Mapping[str, str]] = {
    "runs": {
        "run_uuid": _RUN,
        "start_time": "start_time - 86400000 * ({last} - night.number)",
        "end_time": "end_time - 86400000 * ({last} - night.number)",
    },
    "params": {
        "run_uuid": _RUN,
        "value": "case key when 'seed' then night.seed else value end",
    },
    "tags": {
        "run_uuid": _RUN,
        "value": f"case when key in {_CHANGED_TAGS} then {_ID.format('value')} "
        f"when key = 'content.but_seed' and night.seed = '7' then {_ID.format('value')} else value end",
    },
    "metrics": {"run_uuid": _RUN},
    "latest_metrics": {"run_uuid": _RUN},
    "inputs": {
        "input_uuid": _ID.format("input_uuid"),
        "source_id": f"case source_type when 'DATASET' then source_id else {_ID.format('source_id')} end",
        "destination_id": _ID.format("destination_id"),
    },
    "logged_models": {"model_id": _ID.format("model_id"), "source_run_id": _ID.format("source_run_id")},
    "logged_model_tags": {"model_id": _ID.format("model_id")},
    "logged_model_metrics": {"model_id": _ID.format("model_id"), "run_id": _ID.format("run_id")},
    "model_versions": {"version": "version + {versions} * night.number", "run_id": _ID.format("run_id")},
    "model_version_tags": {
        "version": "version + {versions} * night.number",
        "value": f"case when key in ('content', 'dvc.model') then {_ID.format('value')} else value end",
    },
}
"""Table -> column -> its value in the copy of a night; the other columns are the same."""


def history(_: Path | None) -> None:
    from pipelines import environment
    from pipelines.tracking.lineage.index import Index

    with tempfile.TemporaryDirectory() as folder:
        root = make_toy(Path(folder) / "toy")
        os.chdir(root)
        environment.prepare(root)
        first_night(root)
        start = time.perf_counter()
        copy_nights(root)
        copied = time.perf_counter() - start
        rows = []

        def measure(question: str, arguments: list[str], times: int = REPETITIONS) -> None:
            rows.append([question, seconds([_command(root, arguments) for _ in range(times)])])

        Index(root, "toy").path.unlink()  # It knows one night.
        measure("hpt lineage, the index was lost", ["lineage", "1"], 1)
        measure("hpt compare", ["compare"])
        measure("hpt lineage --trajectory ID", ["lineage", "--trajectory", "program0"])
        measure("hpt lineage champion", ["lineage", "champion"])
        measure("hpt publish, nothing new", ["publish"])
        _reproduce(root, NIGHTS)
        measure("hpt publish, one more night", ["publish"], 1)
        with page(root) as ask:
            for question, (path, body) in requests(root).items():
                rows.append([f"page: {question}", seconds([ask(path, body) for _ in range(REPETITIONS)])])
        database = root / "mlflow.db"
        sizes = {
            path.name: f"{path.stat().st_size / 2**20:.0f} MiB"
            for path in (Index(root, "toy").path, database)
            if path.exists()
        }
    show(
        f"{NIGHTS} nights, copied in {copied:.0f} s; {sizes}",
        ["what", "whole"],
        rows,
    )


def first_night(root: Path) -> None:
    """Publish and register the toy project, with as many metrics as a real night has."""
    from pipelines.tracking import registry
    from pipelines.tracking.mlflow_store import Store
    from pipelines.tracking.publish import publish
    from pipelines.tracking.run_writer import RunWriter

    _reproduce(root, 7)
    publish(root, "night")
    registry.register(root)
    store = Store(root, "toy")
    log = [{"step": step} | {f"extra/{i}": float(i) for i in range(METRICS)} for step in range(1, STEPS + 1)]
    for run in store.tagged({"content.complete": "true"}):
        RunWriter(store, run).steps(log)


def copy_nights(root: Path, nights: int = NIGHTS) -> None:
    """Copy the one night that is published, until there are as many."""
    from sqlalchemy import create_engine, inspect, text

    from pipelines.environment import tracking_uri

    engine = create_engine(tracking_uri(root))
    columns = {table: [column["name"] for column in inspect(engine).get_columns(table)] for table in _COPIES}
    with engine.begin() as database:
        versions = database.execute(text("select count(*) from model_versions")).scalar()
        database.execute(text("create temporary table night (number integer, digits text, seed text)"))
        for number in range(1, nights):
            seed = number if number >= nights - SEEDS + 1 else 7
            row = {"number": number, "digits": f"{number:06d}", "seed": str(seed)}
            database.execute(text("insert into night values (:number, :digits, :seed)"), row)
        for table, changed in _COPIES.items():
            values = [
                changed.get(name, f"{table}.{name}").format(last=nights, versions=versions)
                for name in columns[table]
            ]
            names = ", ".join(columns[table])
            database.execute(
                text(f"insert into {table} ({names}) select {', '.join(values)} from {table}, night")
            )
    engine.dispose()


def _reproduce(root: Path, seed: int) -> None:
    params = root / "params.yaml"
    lines = params.read_text().splitlines(keepends=True)
    params.write_text("".join(f"seed: {seed}\n" if line.startswith("seed:") else line for line in lines))
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=root, check=True)


def _command(root: Path, arguments: list[str]) -> float:
    """Seconds of a command of `hpt`."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"hpt {' '.join(arguments)}: {done.stderr}")
    return time.perf_counter() - start


def requests(root: Path) -> dict[str, tuple[str, object]]:
    """What -> path and body of the requests in which MLflow's page shows an experiment."""
    from pipelines.tracking.mlflow_store import Store
    from pipelines.tracking.pages.screens import SHARED_VIEW_TAG, VIEW

    store = Store(root, "toy")
    tags = store.client.get_experiment(store.experiment).tags
    state = json.loads(tags[f"{SHARED_VIEW_TAG}.{VIEW}"])
    search = {
        "experiment_ids": [store.experiment],
        "run_view_type": "ACTIVE_ONLY",
        "max_results": 100,
        "order_by": ["attributes.start_time DESC"],
    }
    base = "ajax-api/2.0/mlflow"
    return {
        "experiments": (
            f"{base}/experiments/search",
            {"max_results": 25, "order_by": ["last_update_time DESC"]},
        ),
        "its newest 100 runs": (f"{base}/runs/search", search),
        "the comparison": (f"{base}/runs/search", search | {"filter": state["searchFilter"]}),
        "models": (f"{base}/logged-models/search", {"experiment_ids": [store.experiment], "max_results": 50}),
        "registered models": (f"{base}/registered-models/search?max_results=25", None),
        "versions": (f"{base}/model-versions/search?filter=name%3D%27toy%27&max_results=25", None),
    }


@contextmanager
def page(root: Path) -> Iterator[Callable[[str, object], float]]:
    """`hpt ui`, and a function that gives the seconds of a request to it."""
    command = [sys.executable, "-m", "pipelines.cli", "ui", "--port", "5123"]
    server = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    server.stdout.readline()

    def ask(path: str, body: object) -> float:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:5123/{path}", data, {"Content-Type": "application/json"}
        )
        start = time.perf_counter()
        with urllib.request.urlopen(request) as answer:
            answer.read()
        return time.perf_counter() - start

    try:
        yield ask
    finally:
        server.terminate()
        server.wait()
