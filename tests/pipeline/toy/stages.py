"""Stages that write files as the real ones do, in no time.

TOY_FAIL and TOY_HANG name a stage that breaks; a stage waits while the file logs/hold/STAGE is there.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

SKILL = {"base": 1, "program": 7, "human": 4}
"""Policy -> correct answers out of 8 on each benchmark prompt."""
SOURCE = {"program": "worked", "human": "people"}
"""Expert kind -> source of its demonstrations."""
VERDICT = "On easy, program beats human by 37.5 points."
BENCHMARK = 32
"""Number of prompts of the benchmark."""


def table(path, rows):
    import pyarrow as pa
    import pyarrow.parquet as pq

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def text(path, value):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(value)


def curate():
    for name in ("train", "dev"):
        rows = [{"prompt_id": f"{name}{i}", "source": "sums", "license": "MIT"} for i in range(4)]
        table(f"data/prompts/{name}.parquet", rows)
    easy = {"benchmark": "easy", "answer": "2"}
    rows = [{"prompt_id": f"b{i}", "problem": f"{i} - {i} + 2 = ?", **easy} for i in range(BENCHMARK)]
    table("data/prompts/benchmarks.parquet", rows)
    source = {"in": 5, "kept": 4, "dropped": {"in_benchmark": 1}}
    contamination = {
        "benchmark_problems": {"easy": BENCHMARK},
        "found": {"easy": {"same_text": 1}},
        "templates": [],
    }
    report = {
        "sources": {"train": {"sums": source}},
        "contamination": contamination,
        "checks": {"disjoint": True},
    }
    text("data/prompts/report.json", json.dumps(report))


def base():
    text("models/base/config.json", "{}")
    rates = [{"prompt_id": f"train{i}", "samples": 4, "solved": 2, "pass_rate": 0.5} for i in range(4)]
    table("data/rollouts/base/pass_rates.parquet", rates)


def experts():
    rows = [
        {"trajectory_id": f"{kind}{i}", "prompt_id": f"train{i}", "kind": kind, "source": source}
        | {"author": f"author of {source}", "license": "MIT", "verified": True, "n_tokens": 5}
        for kind, source in SOURCE.items()
        for i in range(4)
    ]
    table("data/experts/experts.parquet", rows)


def train(arm):
    from pipelines.tracking.live import LiveSink

    sink, lines = LiveSink(arm), []
    for step in range(1, 4):
        row = {"reward/mean": step / 10, "gate/sft": 4 - step}
        if step == 3:
            row["dev/accuracy"] = SKILL[arm] / 10
        sink.log(step, row)
        lines.append(json.dumps({"step": step, **row}))
        if os.environ.get("TOY_STOP") == f"train@{arm}":
            sys.exit("stopped after one step")
    # The gate chooses one demonstration less at every step.
    gate = [
        {"step": step, "prompt_id": f"train{i}", "pass_rate": 0.5, "route": "sft" if i < 4 - step else "rl"}
        | {"trajectory_id": f"{arm}{i}", "kind": arm, "source": SOURCE[arm], "trained": i < 4 - step}
        for step in range(1, 4)
        for i in range(4)
    ]
    table(f"data/rollouts/{arm}/gate.parquet", gate)
    text(f"metrics/train/{arm}.jsonl", "\n".join(lines) + "\n")
    # Each seed after the first costs the arm `program` one correct answer in 8.
    loss = seed() - 7 if arm == "program" else 0
    text(f"models/{arm}/weights", str(SKILL[arm] - loss))


def seed():
    import yaml

    return yaml.safe_load(Path("params.yaml").read_text())["seed"]


def evaluate(arm):
    skill = SKILL[arm] if arm == "base" else int(Path(f"models/{arm}/weights").read_text())
    rows = [
        {
            "benchmark": "easy",
            "prompt_id": f"b{i}",
            "source": "sums",
            "sample": k,
            "response": "2",
            "extracted": "2",
            "correct": (i + k) % 8 < skill,
            "finish_reason": "stop",
            "n_tokens": 3,
        }
        for i in range(BENCHMARK)
        for k in range(8)
    ]
    table(f"data/eval/{arm}.parquet", rows)
    accuracy = skill / 8
    interval = [accuracy - 0.1, accuracy + 0.1]
    curve = [{"k": k, "pass_at_k": rate, "ci95": interval} for k, rate in ((1, accuracy), (8, 1.0))]
    result = {"avg_at_k": accuracy, "pass_at_k": 1.0, "ci95": interval, "k": 8, "pass_curve": curve}
    result |= {"n_prompts": BENCHMARK, "truncated": 0.0, "mean_length": 3.0}
    text(f"metrics/eval/{arm}.json", json.dumps({"easy": result}))


def compare():
    arms = sorted(path.stem for path in Path("metrics/train").glob("*.jsonl"))
    results = {name: json.loads(Path(f"metrics/eval/{name}.json").read_text()) for name in ("base", *arms)}
    accuracy = {name: result["easy"] for name, result in results.items()}
    by_source = {name: result["avg_at_k"] for name, result in accuracy.items()}
    sources = {"sums": {"n_prompts": BENCHMARK, "accuracy": by_source}}
    benchmarks = {"easy": {"accuracy": accuracy, "gain": {}, "pairs": [], "sources": sources}}
    training = {arm: {"offline_share": 0.5, "tokens_generated": 1, "tokens_trained": 1} for arm in arms}
    comparison = {"arms": arms, "benchmarks": benchmarks, "training": training, "verdicts": [VERDICT]}
    text("metrics/compare.json", json.dumps(comparison))
    text("reports/provenance.html", "<header><h1>report</h1></header>")


def main():
    name, *arm = sys.argv[1:]
    stage = "_".join([name, *arm]) if arm == ["base"] else "@".join([name, *arm])
    print(f"{stage} begins", flush=True)
    text(f"logs/began/{stage}", str(time.time()))
    if os.environ.get("TOY_FAIL") == stage:
        sys.exit(f"{stage}: the reason why it fails")
    while Path(f"logs/hold/{stage}").exists():
        time.sleep(0.1)
    if os.environ.get("TOY_HANG") == stage:
        # A child that ignores SIGTERM, as a hung worker does.
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", code])
        text(f"logs/child/{stage}", str(child.pid))
        child.wait()
    globals()[name](*arm)
    text(f"logs/ended/{stage}", str(time.time()))


main()
