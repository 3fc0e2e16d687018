"""Lineage both ways: what a model was made from, and which models were made from a trajectory.

Publishing puts both into the arm's run, as artifacts. An index beside them in logs/ answers questions: one
SQLite file for each tracking server and experiment, so that a takedown does not read a thousand runs. It is
a copy: where it is missing, or others publish to the same server, `pipelines.tracking.mlflow_store` brings
it up to date from the artifacts. Nothing here imports mlflow, which takes longer than the answer.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from hpt_core.gate import IMITATED
from pipelines.environment import tracking_uri

MODEL_LINEAGE, TRAINED_ON = "lineage/made_from.json", "lineage/trained_on.json"
"""Artifacts of an arm's run: a `ModelLineage`; trajectory_id -> times that a step trained on it."""
TABLES = """
create table if not exists run (number integer primary key, id text unique, made_from text);
create table if not exists version (model text, number integer, run text, primary key (model, number));
create index if not exists version_of on version (run);
create table if not exists synchronised (at integer);
create table if not exists trajectory (number integer primary key, id text unique);
create table if not exists trained (
    trajectory integer, run integer, times integer, primary key (trajectory, run)
) without rowid;
"""


@dataclass(frozen=True)
class SourceContribution:
    """Trajectories of one origin in an arm."""

    kind: str
    source: str
    author: str
    license: str
    offered: int
    """Trajectories that its mix has a place for."""
    trained: int
    """Different ones among them that some step trained on."""
    times: int
    """Steps that trained on one of them, each counted."""


@dataclass(frozen=True)
class ModelLineage:
    """All that an arm was made from."""

    arm: str
    content: str
    recipe: str
    commit: str
    params: dict[str, str]
    dvc: dict[str, str]
    """Path -> DVC hash, of data, models and code of its stage and of those before it."""
    prompts: list[dict[str, Any]]
    """source, license, prompts"""
    trajectories: list[SourceContribution]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelLineage:
        tree = json.loads(text)
        return cls(**tree | {"trajectories": [SourceContribution(**share) for share in tree["trajectories"]]})


@dataclass(frozen=True)
class Training:
    """A published run that trained on a trajectory."""

    run: str
    arm: str
    recipe: str
    commit: str
    times: int
    versions: tuple[str, ...]
    """Registered models, such as "hpt-policy v3"."""


def trained_on(gate: Sequence[dict[str, Any]], buffer: int | None = None) -> Counter[str]:
    """trajectory_id -> times that a step trained on it, from the rows of an arm's gate.parquet, in order.

    buffer: of ReLIFT, `train.sft_buffer`. There no route says so: failed prompts wait in the buffer, and
    those that leave it are trained on.
    """
    if buffer is None:
        rows = (row for row in gate if row["route"] in IMITATED and row["trajectory_id"])
        return Counter(row["trajectory_id"] for row in rows)
    from hpt_core.trainer.sft_buffer import SFTBuffer, failed

    of_prompt = {row["prompt_id"]: row["trajectory_id"] for row in gate if row["trajectory_id"]}
    waiting, counts = SFTBuffer(buffer), Counter[str]()
    for _, step in groupby(gate, key=itemgetter("step")):
        waiting.add(failed(step))
        counts.update(of_prompt[prompt] for prompt in waiting.take())
    return counts


def source_contributions(
    experts: Sequence[Mapping[str, Any]], times: Mapping[str, int]
) -> list[SourceContribution]:
    """By origin, of the trajectories that an arm was offered: rows of experts.parquet."""

    def origin(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
        return row["kind"], row["source"], row["author"], row["license"]

    found = []
    for names, group in groupby(sorted(experts, key=origin), key=origin):
        counts = [times.get(row["trajectory_id"], 0) for row in group]
        found.append(SourceContribution(*names, len(counts), sum(count > 0 for count in counts), sum(counts)))
    return found


class Index:
    """Of one tracking server and experiment, in the checkout `root`."""

    def __init__(self, root: Path, experiment: str) -> None:
        place = hashlib.sha256(f"{tracking_uri(root)} {experiment}".encode()).hexdigest()[:12]
        self.path = root / "logs" / f"lineage-{place}.db"

    @property
    def present(self) -> bool:
        """Whether it was made whole: a rebuild that was cut short is begun anew."""
        return self.path.exists() and self.synchronised() > 0

    def add(self, published: Iterable[tuple[str, ModelLineage, Mapping[str, int]]]) -> None:
        """Runs, with what they were made from and trained on; all or nothing.

        What a run trained on never changes, so that adding it again changes nothing.
        """
        with self._open() as db:
            for run, made_from, trained in published:
                db.execute("insert or ignore into run (id) values (?)", (run,))
                [number] = db.execute("select number from run where id = ?", (run,)).fetchone()
                db.execute("update run set made_from = ? where number = ?", (made_from.to_json(), number))
                names = ((name,) for name in trained)
                db.executemany("insert or ignore into trajectory (id) values (?)", names)
                db.executemany(
                    "insert or replace into trained select number, ?, ? from trajectory where id = ?",
                    ((number, times, name) for name, times in trained.items()),
                )

    def register(self, model: str, versions: Mapping[int, str]) -> None:
        """Version of a registered model -> run."""
        with self._open() as db:
            rows = ((model, number, run) for number, run in versions.items())
            db.executemany("insert or replace into version values (?, ?, ?)", rows)

    def synchronised(self) -> int:
        """When it last was brought up to the server, in milliseconds since 1970; 0 for never."""
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
        """Version -> run."""
        with self._open() as db:
            query = "select number, run from version where model = ? order by number"
            return dict(db.execute(query, (model,)))

    def made_from(self, run: str) -> ModelLineage | None:
        with self._open() as db:
            found = db.execute("select made_from from run where id = ?", (run,)).fetchone()
        return ModelLineage.from_json(found[0]) if found else None

    def of_trajectory(self, trajectory: str) -> list[Training]:
        """Runs that trained on it, in the order of their publication."""
        query = """
            select run.id, run.made_from, times from trajectory
            join trained on trained.trajectory = trajectory.number join run on run.number = trained.run
            where trajectory.id = ? order by run.number
        """
        with self._open() as db:
            found = db.execute(query, (trajectory,)).fetchall()
            versions: dict[str, list[str]] = {}
            for model, number, run in db.execute("select * from version order by model, number"):
                versions.setdefault(run, []).append(f"{model} v{number}")
        trainings = []
        for run, text, times in found:
            made = json.loads(text)
            of_run = tuple(versions.get(run, ()))
            trainings.append(Training(run, made["arm"], made["recipe"], made["commit"], times, of_run))
        return trainings

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=60)) as db, db:
            db.executescript(TABLES)
            yield db
