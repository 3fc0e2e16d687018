"""What is published of an arm's training, read from dvc.lock and from the files that match it."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hpt_core import tables
from hpt_core.data.demonstrations.selection import entry_of
from hpt_core.files import present, read_json, read_steps
from pipelines import paths
from pipelines.tracking import dvc_lock
from pipelines.tracking.dvc_lock import Lock, LockEntry

PARAM_LENGTH = 6000
"""MLflow accepts no longer value of a parameter."""


@dataclass(frozen=True)
class Dataset:
    """A named input of a run."""

    name: str
    path: str
    digest: str
    """The DVC hash of `path`."""
    context: str
    """The purpose for which the run used the input."""
    rows: int
    schema: str
    """The columns of the table, as MLflow's page reads them."""


@dataclass(frozen=True)
class ArmRecord:
    """An arm and what it was made from."""

    arm: str
    content: str
    """The digest of its train stage: see `dvc_lock.digest`."""
    hash_without_seed: str
    """The hash that is equal for every seed: see `dvc_lock.hash_without_seed`."""
    mix: dict[str, float]
    params: dict[str, str]
    datasets: tuple[Dataset, ...]
    experts: str
    """The DVC hash of the expert trajectories."""
    base: str
    """The DVC hash of the starting policy."""
    distance: dict[str, float]
    """distance/SOURCE/NAME -> value, of the sources that the mix draws from: their distance from the starting
    policy."""


def describe(root: Path, arm: str, entry: LockEntry, lock: Lock) -> ArmRecord:
    """The record of an arm from its train stage's entry, as in dvc.lock or from `dvc_lock.live_entry`.

    Raises InputError where a table that it was made from is missing.
    """
    params = dvc_lock.parameters(entry)
    params |= params.pop(f"arms.{arm}")
    base = dvc_lock.parameters(lock["base"])["base"]
    experts = dvc_lock.experts_hash(lock, f"train@{arm}", entry)
    hashes = dvc_lock.dependency_hashes(entry) | {str(paths.EXPERTS): experts}
    return ArmRecord(
        arm=arm,
        content=dvc_lock.digest(entry),
        hash_without_seed=dvc_lock.hash_without_seed(lock, f"train@{arm}", entry),
        mix=params["mix"],
        params=flatten(params | {"base": base}) | {"provenance": arm},
        datasets=_training_datasets(root, params["mix"], hashes),
        distance=_distance(root, params["mix"], lock),
        experts=experts,
        base=str(dvc_lock.output_hash(lock, str(paths.BASE_MODEL))),
    )


def _training_datasets(
    root: Path, mix: Mapping[str, float], hashes: Mapping[str, str]
) -> tuple[Dataset, ...]:
    """The training prompts, and each source of demonstrations that the mix draws from."""
    prompts, experts = str(paths.TRAIN_PROMPTS), str(paths.EXPERTS)
    n_prompts = tables.count_rows(root / prompts)
    columns = schema(root / prompts)
    datasets = [Dataset("prompts", prompts, hashes[prompts], "training", n_prompts, columns)]
    rows = tables.read(root / experts, columns=["kind", "source"])
    counts = Counter((row["kind"], row["source"]) for row in rows)
    columns = schema(root / experts)
    for (kind, source), count in sorted(counts.items()):
        if entry_of(mix, kind, source) is not None:
            name = f"{kind}: {source}"
            datasets.append(Dataset(name, experts, hashes[experts], "demonstrations", count, columns))
    return tuple(datasets)


def _distance(root: Path, mix: Mapping[str, float], lock: Lock) -> dict[str, float]:
    if not matches_lock(root, lock, paths.EXPERTS_DISTANCE):
        return {}
    rows = tables.read(root / paths.EXPERTS, columns=["kind", "source"])
    kinds = {(row["source"], row["kind"]) for row in rows}
    drawn = {source for source, kind in kinds if entry_of(mix, kind, source) is not None}
    return {
        f"distance/{source}/{name}": float(value)
        for source, values in read_json(root / paths.EXPERTS_DISTANCE).items()
        for name, value in values.items()
        if source in drawn
    }


def schema(table: Path) -> str:
    """The columns of a Parquet file, in the form in which MLflow's page of a dataset shows them.

    Raises InputError where it is missing.
    """
    present(table)
    columns = [{"name": field.name, "type": str(field.type)} for field in pq.read_schema(table)]
    return json.dumps({"mlflow_colspec": columns})


def trained_arms(root: Path, lock: Lock) -> list[str]:
    """Arms of dvc.lock whose training metrics in the workspace have the hash that it records."""
    arms = [name.partition("@")[2] for name in lock if name.startswith("train@")]
    return [arm for arm in arms if matches_lock(root, lock, paths.training_metrics(arm))]


def matches_lock(root: Path, lock: Lock, path: Path) -> bool:
    """Whether an output file exists with the hash that dvc.lock records."""
    file = root / path
    recorded = dvc_lock.output_hash(lock, str(path))
    return file.exists() and hashlib.md5(file.read_bytes()).hexdigest() == recorded


def training_steps(root: Path, arm: str) -> list[dict[str, Any]]:
    """The metrics of every step, with speed and use of the machine where `LiveSink` logged the same step."""
    steps = read_steps(root / paths.training_metrics(arm))
    logged = _logged_steps(root / paths.step_log(arm))
    # The log may be of another run, or of a step that was repeated after a crash.
    return [
        logged[row["step"]] if row.items() <= logged.get(row["step"], {}).items() else row for row in steps
    ]


def _logged_steps(path: Path) -> dict[int, dict[str, Any]]:
    """Step -> its last row in a log whose last line may be incomplete."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    rows = [json.loads(line) for line in text.split("\n")[:-1] if line]
    return {row["step"]: row for row in rows}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested keys joined by dots, without characters that MLflow rejects; lists and nulls as JSON."""
    flat: dict[str, str] = {}
    for raw_key, value in tree.items():
        key = re.sub(r"[^\w\-. /:]", "_", raw_key)
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = (value if isinstance(value, str) else json.dumps(value))[:PARAM_LENGTH]
    return flat
