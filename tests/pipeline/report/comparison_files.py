"""The files of a complete run as the stages before `compare` write them, made up."""

from __future__ import annotations

import json
import math
from collections import Counter
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hpt_core import tables
from hpt_core.config import ArmConfig, EvaluateConfig
from hpt_core.evaluation import summarise
from hpt_core.trainer.measures import source_stats
from pipelines.params import Params, load_params

REPO = Path(__file__).parents[3]
ABILITY = {"base": 0.0, "program": 0.16, "teacher": 0.36, "mixed": 0.37}
"""Policy -> what it adds to the share of right answers of the base policy."""
ARMS = ("program", "teacher", "mixed")
HOSTILE = (
    '<script src="https://evil.example/x.js">alert(1)</script><img src=x onerror=alert(2)>\x1b[31m & "q"'
)


def params(arms: tuple[str, ...] = ARMS) -> Params:
    kinds = {
        "program": {"program": 1.0},
        "teacher": {"teacher": 1.0},
        "mixed": {"program": 0.5, "teacher": 0.5},
    }
    embedded = load_params(REPO / "params.yaml")
    [source] = embedded.experts.sources
    changed = {
        "seed": 7,
        "arms": {arm: ArmConfig(mix=kinds[arm]) for arm in arms},
        "evaluate": EvaluateConfig(samples=4, bootstrap=1000),
        "experts": embedded.experts.model_copy(
            update={"sources": [source.model_copy(update={"name": "worked solutions"})]}
        ),
    }
    return embedded.model_copy(update=changed)


def write_table(path: Path, rows: list[dict[str, Any]], **columns: pa.DataType) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(columns.items()))), path)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_run(
    root: Path, benchmarks: tuple[str, ...] = ("held_out",), prompts: int = 160, steps: int = 50
) -> None:
    """The files of a complete run under `root`."""
    rows = [
        {"benchmark": name, "prompt_id": f"{name}-{i:03}", "problem": f"What is {i} + {i % 9}?"}
        | {
            "answer": str(i + i % 9),
            "answer_kind": "math",
            "source": f"sums level {i % 8 + 3}",
            "license": "MIT",
        }
        for name in benchmarks
        for i in range(prompts)
    ]
    names = ("prompt_id", "problem", "answer", "answer_kind", "source", "license", "benchmark")
    write_table(root / "data/prompts/benchmarks.parquet", rows, **dict.fromkeys(names, pa.string()))
    for policy in ABILITY:
        write_responses(root, policy, rows)
    for arm in ARMS:
        write_training(root, arm, steps)
    rates = [
        {"prompt_id": f"t{number:03}", "samples": 8, "solved": number % 9, "pass_rate": number % 9 / 8}
        for number in range(150)
        if number != 7  # none of its rollouts was verified
    ]
    tables.write(root / "data/rollouts/base/pass_rates.parquet", rates, tables.PASS_RATES)
    counts = {"in": 300, "kept": 280, "dropped": {"too_long": 20}, "prompts": 300, "prompts_without": 20}
    write_json(root / "data/experts/report.json", {"worked solutions": counts})
    result = md5((root / "metrics/train/teacher.jsonl").read_bytes()).hexdigest()
    write_json(root / "logs/timings/train@teacher.json", {"seconds": 83.4, "result": result})


def write_responses(root: Path, policy: str, prompts: list[dict[str, Any]], samples: int = 4) -> None:
    """data/eval and metrics/eval of one policy: level 3 is always right for all, level 10 nearly never."""
    luck = np.random.default_rng(0).random((len(prompts), samples))
    rows = []
    for i, prompt in enumerate(prompts):
        level = int(prompt["source"].split()[-1])
        share = min(1.0, max(0.02, 1.05 - (level - 3) * 0.16 + ABILITY[policy] * (level > 3)))
        for sample in range(samples):
            right = bool(luck[i, sample] < share)
            answer = prompt["answer"] if right else "0"
            response = f"Start with the numbers of the problem.\n{prompt['problem'][8:-1]} gives {answer}.\n"
            if policy == "mixed":
                response += HOSTILE
            rows.append(
                {key: prompt[key] for key in ("benchmark", "prompt_id", "source")}
                | {"sample": sample, "response": response + f"\\boxed{{{answer}}}", "extracted": answer}
                | {"correct": right, "n_tokens": 30 + level, "finish_reason": "stop" if right else "length"}
            )
    types = {"benchmark": pa.string(), "prompt_id": pa.string(), "source": pa.string(), "sample": pa.int64()}
    types |= {"response": pa.string(), "extracted": pa.string(), "correct": pa.bool_()}
    types |= {"finish_reason": pa.string(), "n_tokens": pa.int64()}
    write_table(root / f"data/eval/{policy}.parquet", rows, **types)
    groups = {
        name: [row for row in rows if row["benchmark"] == name] for name in {r["benchmark"] for r in rows}
    }
    entries = {name: summarise(groups[name], samples, 1, 1000) for name in sorted(groups)}
    write_json(root / f"metrics/eval/{policy}.json", entries)


def write_training(root: Path, arm: str, steps: int, prompts: int = 150) -> None:
    """An arm's files of training: the gate chooses fewer demonstrations with time, and on easier prompts."""
    rng, lines, gate = np.random.default_rng(len(arm)), [], []
    kinds = {"program": ["program"], "teacher": ["teacher"], "mixed": ["program", "teacher"]}[arm]
    for step in range(1, steps + 1):
        learned = 1 - math.exp(-step / 18)
        routes = []
        for i in range(32):
            number = ((step - 1) * 32 + i) % prompts
            solved = int(rng.binomial(8, min(1.0, number % 9 / 10 + 0.5 * learned)))
            kind = kinds[number % len(kinds)] if number % 10 else None
            unsolved = solved <= 2
            routes.append(("sft" if kind else "no_expert") if unsolved else "equal" if solved == 8 else "rl")
            gate.append(
                {"step": step, "prompt_id": f"t{number:03}", "pass_rate": solved / 8, "route": routes[-1]}
                | {"trajectory_id": f"j{number}" if kind else None, "kind": kind}
                | {"source": f"worked by {kind} <b>" if kind else None, "trained": routes[-1] == "sft"}
            )
        sft, rl = routes.count("sft"), routes.count("rl")
        line = {
            "step": step,
            "reward/mean": 0.3 + 0.35 * learned * (1 + ABILITY[arm]) + rng.normal(0, 0.03),
            "offline_share": sft / (sft + 8 * rl),
            "entropy": 0.5 - 0.3 * learned + rng.normal(0, 0.01),
            "skipped": 0,
            "tokens/generated": 9100 * step,
            "tokens/trained": 4321 * step,
        }
        line |= {f"nll/{kind}": 1.2 - 0.8 * learned + rng.normal(0, 0.03) for kind in kinds}
        chosen = Counter(row["kind"] for row in gate if row["step"] == step and row["route"] == "sft")
        line |= {f"source/worked by {kind} <b>/sft": float(chosen[kind]) for kind in kinds}
        line |= {f"source/worked by {kind} <b>/nll_before": 1.25 for kind in kinds if step == 1}
        line |= {f"source/worked by {kind} <b>/nll_after": 0.375 for kind in kinds if step == steps}
        if step % 10 == 0:
            line["dev/accuracy"] = 0.35 + 0.3 * learned
        lines.append(line)
    path = root / f"metrics/train/{arm}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    tables.write(root / f"data/rollouts/{arm}/gate.parquet", gate, tables.GATE)
    write_json(root / f"data/rollouts/{arm}/provenance.json", source_stats.summarise(gate, lines))
