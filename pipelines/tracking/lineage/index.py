"""Lineage in both directions: what a model was made from, and which models were trained on a trajectory.

Publishing stores both as artifacts of the arm's run. The index is a copy in logs/ that answers questions
without reading every run: one SQLite file for each tracking server and experiment. Where it is missing, or
where others publish to the same server, `pipelines.tracking.lineage.synchronisation` updates it from the
artifacts.
Nothing here imports mlflow, whose import takes longer than an answer.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

from pipelines import paths
from pipelines.environment import tracking_uri

FORMAT = 2
"""Counts changes of the tables; a file of another format is left alone."""
TABLES = """
create table if not exists run (number integer primary key, id text unique, made_from text);
create table if not exists weights (model text, number integer, run text, primary key (model, number, run));
create index if not exists weights_of on weights (run);
create table if not exists synchronised (at integer);
create table if not exists trajectory (number integer primary key, id text unique);
create table if not exists trained (
    trajectory integer, run integer, times integer, primary key (trajectory, run)
) without rowid;
"""


@dataclass(frozen=True)
class SourceContribution:
    """The trajectories of one source in an arm."""

    kind: str
    source: str
    author: str
    license: str
    offered: int
    """Number of trajectories that the arm's mix admits."""
    trained: int
    """Number of different trajectories among them that at least one step trained on."""
    times: int
    """Number of (step, trajectory) pairs in which the step trained on the trajectory."""


class PromptContribution(TypedDict):
    """The number of training prompts of one source."""

    source: str
    license: str
    prompts: int


@dataclass(frozen=True)
class ModelLineage:
    """All that an arm was made from."""

    arm: str
    content: str
    """The digest of its train stage, as in the run's tag."""
    recipe: str
    commit: str
    params: dict[str, str]
    dvc: dict[str, str]
    """Path -> DVC hash, for data, models and code of its train stage and of the stages upstream."""
    prompts: list[PromptContribution]
    trajectories: list[SourceContribution]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelLineage:
        tree = json.loads(text)
        return cls(**tree | {"trajectories": [SourceContribution(**share) for share in tree["trajectories"]]})


@dataclass(frozen=True)
class TrainedRun:
    """A published run that trained on a trajectory."""

    run: str
    lineage: ModelLineage
    times: int
    """Number of its steps that trained on the trajectory."""
    versions: tuple[str, ...]
    """Registered models that were made from the run, such as "hpt-policy v3"."""


class Index:
    """The index of one tracking server and experiment, in the checkout `root`."""

    def __init__(self, root: Path, experiment: str) -> None:
        key = hashlib.sha256(f"{FORMAT} {tracking_uri(root)} {experiment}".encode()).hexdigest()[:12]
        self.path = root / paths.LOGS / f"lineage-{key}.db"

    @property
    def complete(self) -> bool:
        """False where the index is missing, or where building it was interrupted."""
        return self.path.exists() and self.synchronised() > 0

    def add(self, published: Iterable[tuple[str, ModelLineage, Mapping[str, int]]]) -> None:
        """Add runs, each with its lineage and the trajectories that it trained on, in one transaction.

        The lineage of a run never changes, so that adding a run again changes nothing.
        """
        with self._open() as db:
            for run, lineage, trained in published:
                db.execute("insert or ignore into run (id) values (?)", (run,))
                [number] = db.execute("select number from run where id = ?", (run,)).fetchone()
                db.execute("update run set made_from = ? where number = ?", (lineage.to_json(), number))
                names = ((name,) for name in trained)
                db.executemany("insert or ignore into trajectory (id) values (?)", names)
                db.executemany(
                    "insert or replace into trained select number, ?, ? from trajectory where id = ?",
                    ((number, times, name) for name, times in trained.items()),
                )

    def register(self, model: str, versions: Iterable[tuple[int, str]]) -> None:
        """Add versions of a registered model: numbers, and runs that have the weights of that version."""
        with self._open() as db:
            rows = ((model, number, run) for number, run in versions)
            db.executemany("insert or ignore into weights values (?, ?, ?)", rows)

    def synchronised(self) -> int:
        """When the index was last updated from the server, in milliseconds since 1970; 0 for never."""
        with self._open() as db:
            [at] = db.execute("select coalesce(max(at), 0) from synchronised").fetchone()
        return int(at)

    def mark_synchronised(self, at: int) -> None:
        with self._open() as db:
            db.execute("delete from synchronised")
            db.execute("insert into synchronised values (?)", (at,))

    def runs(self) -> set[str]:
        with self._open() as db:
            return {run for (run,) in db.execute("select id from run")}

    def versions(self, model: str) -> dict[int, str]:
        """Version of a registered model -> the first run with its weights, in the order of the versions."""
        with self._open() as db:
            query = "select number, run from weights where model = ? order by number, rowid desc"
            return dict(db.execute(query, (model,)))

    def lineage(self, run: str) -> ModelLineage | None:
        """None for a run without a published lineage."""
        with self._open() as db:
            row = db.execute("select made_from from run where id = ?", (run,)).fetchone()
        return ModelLineage.from_json(row[0]) if row else None

    def trained_on(self, trajectory: str) -> list[TrainedRun]:
        """Runs that trained on a trajectory, in the order of their publication."""
        query = """
            select run.id, run.made_from, times from trajectory
            join trained on trained.trajectory = trajectory.number join run on run.number = trained.run
            where trajectory.id = ? order by run.number
        """
        with self._open() as db:
            rows = db.execute(query, (trajectory,)).fetchall()
            versions: dict[str, list[str]] = {}
            for model, number, run in db.execute("select * from weights order by model, number"):
                versions.setdefault(run, []).append(f"{model} v{number}")
        return [
            TrainedRun(run, ModelLineage.from_json(text), times, tuple(versions.get(run, ())))
            for run, text, times in rows
        ]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=60)) as db, db:
            db.executescript(TABLES)
            yield db
