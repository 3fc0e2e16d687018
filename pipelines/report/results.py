"""What the stages wrote about the base policy and each arm, read and checked in one place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpt_core import tables
from hpt_core.errors import InputError
from hpt_core.types import Prompt

BASE = "base"
PROMPTS = Path("data/prompts/benchmarks.parquet")
Row = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """Everything that is compared; policies are the base and the arms, in the order of params.yaml."""

    arms: tuple[str, ...]
    metrics: dict[str, dict[str, Row]]
    """policy -> benchmark -> entry of metrics/eval/POLICY.json"""
    responses: dict[str, dict[str, list[Row]]]
    """policy -> benchmark -> rows of data/eval/POLICY.parquet"""
    training: dict[str, list[Row]]
    """arm -> lines of metrics/train/ARM.jsonl"""
    gates: dict[str, list[Row]]
    """arm -> rows of data/rollouts/ARM/gate.parquet"""
    sources: dict[str, dict[str, Row]]
    """arm -> source of demonstrations -> entry of data/rollouts/ARM/provenance.json"""
    base_rates: dict[str, float]
    """training prompt -> pass rate of the base policy; without those of which no rollout was judged"""
    prompts: dict[str, dict[str, Prompt]]
    """benchmark -> prompt_id -> prompt"""
    experts: dict[str, Any] | None
    """source -> counts of data/experts/report.json, where there is one"""

    @property
    def policies(self) -> tuple[str, ...]:
        return (BASE, *self.arms)

    @property
    def benchmarks(self) -> list[str]:
        return list(self.metrics[BASE])


def metrics_file(policy: str) -> Path:
    return Path(f"metrics/eval/{policy}.json")


def responses_file(policy: str) -> Path:
    return Path(f"data/eval/{policy}.parquet")


def evaluate_stage(policy: str) -> str:
    return "evaluate_base" if policy == BASE else f"evaluate@{policy}"


def read_results(arms: Sequence[str], root: Path) -> Results:
    """Read the files of the base policy and `arms` under `root`.

    Raises InputError that names the file, and the stage to run, for one that is missing, unreadable or
    of another run than the one beside it.
    """
    policies = (BASE, *arms)
    metrics = {policy: read_json(root / metrics_file(policy), evaluate_stage(policy)) for policy in policies}
    for arm in arms:
        if set(metrics[arm]) != set(metrics[BASE]):
            raise InputError(
                f"{root / metrics_file(BASE)} has the benchmarks {sorted(metrics[BASE])}, and "
                f"{root / metrics_file(arm)} has {sorted(metrics[arm])}; "
                f"run `dvc repro` to evaluate both anew"
            )
    experts = root / "data/experts/report.json"
    return Results(
        arms=tuple(arms),
        metrics=metrics,
        responses={policy: _responses(root, policy, metrics[policy]) for policy in policies},
        training={arm: read_steps(root / f"metrics/train/{arm}.jsonl", f"train@{arm}") for arm in arms},
        gates={arm: tables.read(_trained(root, arm, "gate.parquet"), tables.GATE) for arm in arms},
        sources={arm: read_json(_trained(root, arm, "provenance.json"), f"train@{arm}") for arm in arms},
        base_rates={
            row["prompt_id"]: row["pass_rate"]
            for row in tables.read(_trained(root, BASE, "pass_rates.parquet"), tables.PASS_RATES)
        },
        prompts={
            benchmark: {prompt.prompt_id: prompt for prompt in prompts}
            for benchmark, prompts in tables.read_benchmarks(root / PROMPTS).items()
        },
        experts=read_json(experts, "experts") if experts.is_file() else None,
    )


def read_json(path: Path, stage: str) -> dict[str, Any]:
    """The object in `path`, which `stage` writes. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: not found; run `dvc repro {stage}`")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); remove it and run `dvc repro {stage}`") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object is wanted; remove it and run `dvc repro {stage}`")
    return value


def read_steps(path: Path, stage: str) -> list[Row]:
    """The lines of a training log, each with its "step". Raises InputError with the line."""
    if not path.is_file():
        raise InputError(f"{path}: not found; run `dvc repro {stage}`")
    rows: list[Row] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            row["step"] = int(row["step"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}:{number}: not the metrics of a step ({type(error).__name__}: {error}); "
                f"remove the file and run `dvc repro {stage}`"
            ) from error
        rows.append(row)
    if not rows:
        raise InputError(f"{path}: no steps; remove it and run `dvc repro {stage}`")
    return rows


def _trained(root: Path, policy: str, name: str) -> Path:
    return root / "data/rollouts" / policy / name


def _responses(root: Path, policy: str, metrics: dict[str, Row]) -> dict[str, list[Row]]:
    path = root / responses_file(policy)
    benchmarks: dict[str, list[Row]] = {}
    for row in tables.read(path, tables.EVALUATION):
        benchmarks.setdefault(row["benchmark"], []).append(row)
    counts = {name: len({row["prompt_id"] for row in rows}) for name, rows in benchmarks.items()}
    stated = {name: entry["n_prompts"] for name, entry in metrics.items()}
    if counts != stated:
        raise InputError(
            f"{path} has prompts {counts}, {root / metrics_file(policy)} speaks of {stated}: "
            f"they are of different runs; run `dvc repro --force {evaluate_stage(policy)}`"
        )
    return benchmarks
