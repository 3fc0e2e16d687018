"""A stage without its work: it writes the outputs that dvc.yaml lists for its command.

The outputs depend on the stage's data and parameters and not on its code, as with an edit of code that leaves
the results as they are. A file `new_results` that names stages makes their outputs differ.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

Yaml = dict[str, Any]


def outputs_and_dependencies(command: str, arms: list[str]) -> tuple[list[str], list[str]]:
    """Paths of the stage of dvc.yaml that has `command`."""
    for name, entry in yaml.safe_load(Path("dvc.yaml").read_text())["stages"].items():
        stage = entry.get("do", entry)
        for arm in arms:
            # What the shell puts in place of the variable, which DVC sets.
            if stage["cmd"].replace('"$DVC_STAGE"', f"{name}@{arm}") == command:
                outs, deps = [*stage["outs"], *stage.get("metrics", [])], stage["deps"]
                return [out.replace("${key}", arm) for out in outs], [
                    dep.replace("${key}", arm) for dep in deps
                ]
    raise AssertionError(f"no stage of dvc.yaml has the command {command}")


def data_files(deps: list[str]) -> list[Path]:
    paths = [Path(dep) for dep in deps if dep.startswith(("data/", "models/", "metrics/"))]
    return sorted(file for path in paths for file in [path, *path.rglob("*")] if file.is_file())


def accuracies(params: Yaml) -> dict[str, float]:
    return {"base": 0.25, **dict.fromkeys(params["arms"], 0.5 + params["train"]["optimizer"]["lr"])}


def write_plots(folder: Path, params: Yaml) -> None:
    """The files of pipelines/report/plot_data.py."""
    train = params["train"]
    steps = [
        {
            "arm": arm,
            "step": step,
            "reward/mean": step * train["optimizer"]["lr"],
            "offline_share": 0.5,
            "dev/accuracy": None if step % 2 else 0.5,
        }
        for arm in params["arms"]
        for step in range(1, train["steps"] + 1)
    ]
    policies = [
        {"benchmark": "held_out", "policy": policy, "avg_at_k": accuracy, "low": 0.0, "high": 1.0}
        for policy, accuracy in accuracies(params).items()
    ]
    folder.mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps(steps))
    (folder / "evaluation.json").write_text(json.dumps(policies))


def write(path: Path, content: str, params: Yaml) -> None:
    if path.match("reports/plots"):
        write_plots(path, params)
        return
    # Other stages read two files of a folder of rollouts.
    files = [path] if path.suffix else [path / "pass_rates.parquet", path / "rollouts.parquet"]
    path.parent.mkdir(parents=True, exist_ok=True)
    files[0].parent.mkdir(exist_ok=True)
    if path.match("metrics/demonstrations/*.json"):
        content = json.dumps({"coverage": 0.5})
    if path.match("metrics/eval/*.json"):
        content = json.dumps({"held_out": {"avg_at_k": accuracies(params)[path.stem], "k": 4}})
    for file in files:
        file.write_text(content)


def main() -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    command = " ".join(["python", "placeholder_stage.py", *sys.argv[1:]])
    outs, deps = outputs_and_dependencies(command, list(params["arms"]))
    content = sha256(b"".join(file.read_bytes() for file in data_files(deps))).hexdigest()
    if sys.argv[1] == "train":
        content += json.dumps(params["train"])
    if sys.argv[1] == "select":
        content = "the demonstrations, whatever else the other sources have"
    if sys.argv[1] in Path("new_results").read_text().split():
        content += " with new results"
    for out in outs:
        write(Path(out), content, params)


main()
