"""What there is to publish of an arm, read from dvc.lock and the files that it vouches for."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hpt_core.data.demonstrations.selection import entry_of
from hpt_core.errors import InputError
from hpt_core.evaluation import correct_matrix
from pipelines.params import MARK
from pipelines.tracking import dvc_lock
from pipelines.tracking.lineage_index import ModelLineage, source_contributions, trained_on

PROMPTS = "data/prompts/train.parquet"
BENCHMARKS = "data/prompts/benchmarks.parquet"
EXPERTS = "data/experts/experts.parquet"
PARAM_LENGTH = 6000
"""MLflow takes no longer value of a parameter."""


Scores = dict[str, dict[str, float]]
"""benchmark -> prompt_id -> share of right responses"""


@dataclass(frozen=True)
class Dataset:
    """A named input of a run."""

    name: str
    path: str
    digest: str
    """The DVC hash of `path`."""
    context: str
    rows: int


@dataclass(frozen=True)
class ArmRecord:
    """One arm: what it was made from."""

    arm: str
    content: str
    but_seed: str
    """The same for every seed: see `content.hash_without_seed`."""
    mix: dict[str, float]
    params: dict[str, str]
    datasets: tuple[Dataset, ...]
    experts: str
    """The hash of the expert trajectories in dvc.lock."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluated model: metrics/eval/NAME.json and a few responses to read."""

    content: str
    metrics: dict[str, dict[str, float]]
    """benchmark -> metric -> value"""
    datasets: dict[str, Dataset]
    path: Path
    samples: dict[str, list[Any]]
    scores: Scores


def describe(root: Path, arm: str, entry: Mapping[str, Any], lock: Mapping[str, Any]) -> ArmRecord:
    """The record of an arm from its train stage's entry, as in dvc.lock or as `content.live_entry`.

    Raises InputError where a table that it was made from is missing.
    """
    params = dict(entry["params"]["params.yaml"])
    params |= params.pop(f"arms.{arm}")
    mix = params["mix"]
    base = lock["base"]["params"]["params.yaml"]["base"]
    hashes = {dep["path"]: dep["md5"] for dep in entry["deps"]}
    datasets = [
        Dataset("prompts", PROMPTS, hashes[PROMPTS], "training", _rows(present(root, PROMPTS, "curate")))
    ]
    experts = present(root, EXPERTS, "experts")
    table = pq.read_table(experts, columns=["kind", "source"]).to_pylist()
    counts = Counter((row["kind"], row["source"]) for row in table)
    for (kind, source), rows in sorted(counts.items()):
        if entry_of(mix, kind, source) is not None:
            datasets.append(Dataset(f"{kind}: {source}", EXPERTS, hashes[EXPERTS], "demonstrations", rows))
    return ArmRecord(
        arm=arm,
        content=dvc_lock.digest(entry),
        but_seed=dvc_lock.hash_without_seed(lock, f"train@{arm}", entry),
        mix=mix,
        params=flatten(params | {"base": base}) | {"provenance": arm},
        datasets=tuple(datasets),
        experts=hashes[EXPERTS],
    )


def made_from(
    root: Path, record: ArmRecord, lock: Mapping[str, Any], recipe: str, commit: str
) -> tuple[ModelLineage, Counter[str]]:
    """What a trained arm was made from, and how often each trajectory was trained on.

    Raises InputError where a table that says so is missing.
    """
    stage = f"train@{record.arm}"
    entries = [lock[name] for name in (*dvc_lock.before(lock), stage)]
    parts = [part for entry in entries for part in (*entry.get("deps", []), *entry.get("outs", []))]
    train = lock[stage]["params"]["params.yaml"]["train"]
    gate = pq.read_table(present(root, f"data/rollouts/{record.arm}/gate.parquet", stage)).to_pylist()
    times = trained_on(gate, train.get("sft_buffer", 64) if train.get("algorithm") == "relift" else None)
    columns = ["trajectory_id", "kind", "source", "author", "license"]
    experts = [
        row
        for row in pq.read_table(present(root, EXPERTS, "experts"), columns=columns).to_pylist()
        if entry_of(record.mix, row["kind"], row["source"]) is not None
    ]
    prompts = pq.read_table(present(root, PROMPTS, "curate"), columns=["source", "license"]).to_pylist()
    counts = Counter((row["source"], row["license"]) for row in prompts)
    made = ModelLineage(
        arm=record.arm,
        content=record.content,
        recipe=recipe,
        commit=commit,
        params=record.params,
        dvc={part["path"]: part["md5"] for part in parts},
        prompts=[{"source": s, "license": li, "prompts": n} for (s, li), n in sorted(counts.items())],
        trajectories=source_contributions(experts, times),
    )
    return made, times


def trained_arms(root: Path, lock: Mapping[str, Any]) -> list[str]:
    """Arms of dvc.lock whose metrics in the workspace are the ones that it vouches for."""
    arms = [name.partition("@")[2] for name in lock if name.startswith("train@")]
    return [arm for arm in arms if _matches(root, lock, f"metrics/train/{arm}.jsonl")]


def read_steps(root: Path, arm: str) -> list[dict[str, float]]:
    """metrics/train/ARM.jsonl, one dict a step, with speed and machine where they were kept with it."""
    rows = _lines((root / f"metrics/train/{arm}.jsonl").read_text(encoding="utf-8"))
    path = step_log(root, arm)
    # The last line may have been cut short.
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0] if path.is_file() else ""
    kept = {row["step"]: row for row in _lines(whole)}
    # What was kept of another run, or of a step that was taken again after a crash, is of no use here.
    return [kept[row["step"]] if row.items() <= kept.get(row["step"], {}).items() else row for row in rows]


def step_log(root: Path, arm: str) -> Path:
    """Where training keeps what belongs to the run and not to the result; DVC does not see it."""
    return root / f"logs/steps/{arm}.jsonl"


def _lines(text: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in text.splitlines() if line]


def read_evaluation(root: Path, name: str, lock: Mapping[str, Any]) -> Evaluation | None:
    """The evaluation of an arm or of `base`; None where the present model has none.

    Raises InputError where its responses are missing.
    """
    stage = "evaluate_base" if name == "base" else f"evaluate@{name}"
    path = f"metrics/eval/{name}.json"
    if stage not in lock or not _matches(root, lock, path):
        return None
    hashes = {dep["path"]: dep["md5"] for dep in lock[stage]["deps"]}
    if hashes[f"models/{name}"] != dvc_lock.output_hash(lock, f"models/{name}"):
        return None  # of the model before this one
    responses = present(root, f"data/eval/{name}.parquet", stage)
    results = json.loads((root / path).read_text(encoding="utf-8"))
    return Evaluation(
        content=dvc_lock.digest(lock[stage]),
        metrics={benchmark: _numbers(result) for benchmark, result in results.items()},
        datasets={
            benchmark: Dataset(
                f"benchmark: {benchmark}", BENCHMARKS, hashes[BENCHMARKS], "evaluation", result["n_prompts"]
            )
            for benchmark, result in results.items()
        },
        path=root / path,
        samples=read_samples(responses, present(root, BENCHMARKS, "curate")),
        scores=read_scores(responses),
    )


def read_samples(path: Path, problems: Path, per_benchmark: int = 20) -> dict[str, list[Any]]:
    """The first sample of the first prompts of each benchmark, column by column, with the problem."""
    columns = ["benchmark", "prompt_id", "source", "response", "extracted", "correct", "n_tokens"]
    rows = pq.read_table(path, columns=columns, filters=[("sample", "=", 0)]).to_pylist()
    taken: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if len(taken.setdefault(row["benchmark"], [])) < per_benchmark:
            taken[row["benchmark"]].append(row)
    chosen = [row for group in taken.values() for row in group]
    asked = pq.read_table(problems, columns=["benchmark", "prompt_id", "problem", "answer"]).to_pylist()
    known = {(row["benchmark"], row["prompt_id"]): row for row in asked}
    whole = [known[row["benchmark"], row["prompt_id"]] | row for row in chosen]
    return {
        column: [row[column] for row in whole] for column in (*columns[:3], "problem", "answer", *columns[3:])
    }


def side_by_side(samples: Mapping[str, Mapping[str, list[Any]]]) -> dict[str, list[Any]]:
    """Policy -> its `read_samples`, as one table: a row for each prompt, two columns for each policy."""
    shared = ("benchmark", "prompt_id", "source", "problem", "answer")
    first = next(iter(samples.values()))
    prompts = list(zip(first["benchmark"], first["prompt_id"], strict=True))
    table = {name: list(first[name]) for name in shared}
    for policy, columns in samples.items():
        place = {key: i for i, key in enumerate(zip(columns["benchmark"], columns["prompt_id"], strict=True))}
        for name in ("correct", "response"):
            values = columns[name]
            table[f"{policy}: {name}"] = [values[place[key]] if key in place else None for key in prompts]
    return table


def read_verdicts(root: Path) -> list[str]:
    """The sentences of metrics/compare.json; none before there is one."""
    path = root / "metrics/compare.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["verdicts"]) if path.exists() else []


def read_scores(path: Path) -> Scores:
    """The score of every prompt, which is what paired comparisons are made of."""
    columns = ["benchmark", "prompt_id", "sample", "correct"]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(path, columns=columns).to_pylist():
        groups.setdefault(row["benchmark"], []).append(row)
    return {benchmark: _scores(rows) for benchmark, rows in groups.items()}


def _scores(rows: list[dict[str, Any]]) -> dict[str, float]:
    prompts, correct = correct_matrix(rows)
    return dict(zip(prompts, correct.mean(1).tolist(), strict=True))


def recipe(root: Path) -> str:
    """The first line of params.yaml names the recipe that wrote it; `custom` where it does not."""
    with (root / "params.yaml").open(encoding="utf-8") as file:
        first = file.readline()
    return first.removeprefix(MARK).strip() if first.startswith(MARK) else "custom"


def commit(root: Path) -> str:
    """The checked-out commit, with `-dirty` where tracked files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else "none"


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested keys joined by dots, without what MLflow takes in no name; lists and nulls as JSON."""
    flat: dict[str, str] = {}
    for given, value in tree.items():
        key = re.sub(r"[^\w\-. /:]", "_", given)
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = (value if isinstance(value, str) else json.dumps(value))[:PARAM_LENGTH]
    return flat


def _numbers(result: Mapping[str, Any]) -> dict[str, float]:
    low, high = result["ci95"]
    flat = {k: float(v) for k, v in result.items() if isinstance(v, int | float)}
    curve = {f"pass_at_{point['k']}": float(point["pass_at_k"]) for point in result.get("pass_curve", [])}
    lengths = {f"length_{name}": float(value) for name, value in result.get("lengths", {}).items()}
    return flat | curve | lengths | {"ci95_low": float(low), "ci95_high": float(high)}


def _matches(root: Path, lock: Mapping[str, Any], path: str) -> bool:
    file = root / path
    return file.exists() and hashlib.md5(file.read_bytes()).hexdigest() == dvc_lock.output_hash(lock, path)


def present(root: Path, path: str, stage: str) -> Path:
    if not (root / path).is_file():
        raise InputError(f"{path}: not found; restore it with `dvc repro {stage}`")
    return root / path


def _rows(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)
