"""An answer kind of an installed package, with credit in part, through every stage that judges."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from every_stage import run_stage

from hpt_core import tables
from hpt_core.errors import InputError
from hpt_core.evaluation import differing_settings
from hpt_core.policy.model import load_policy, weights_hash
from pipelines import train
from pipelines.params import load_params
from pipelines.stage.evaluation_settings import settings
from pipelines.stage.training_data import PROJECT

PARAMS = """
seed: 3
threads: 1
curate:
  train: [{name: own, file: raw/data/own.jsonl, answer_kind: letters, license: mit}]
  dev_size: 2
  max_problem_chars: 100
  benchmarks: {held: [{name: held, file: raw/data/held.jsonl, answer_kind: letters, license: mit}]}
base:
  warm_start:
    hidden_size: 32
    layers: 1
    heads: 2
    max_positions: 128
    steps: 20
    batch_size: 8
    optimizer: {name: adamw, lr: 0.005}
    sources: [{name: lessons, reasoning_gym: spell_backward, size: 50, seed: 5, license: mit}]
teacher: null
rollout: {group_size: 4, max_prompt_tokens: 64, max_new_tokens: 12, slots: 32}
experts:
  max_tokens: 60
  licenses: [mit]
  sources: [{name: people, kind: human, author: us, license: mit, file: raw/data/people.jsonl}]
arms: {human: {mix: {human: 1.0}}}
train:
  steps: 1
  prompts_per_step: 4
  dev_every: 1
  optimizer: {name: adamw, lr: 0.001}
evaluate: {samples: 2, bootstrap: 100}
verifier: {}
tracking: {experiment: e, registered_model: m}
schedule: {cron: "0 2 * * *", timezone: UTC}
"""
MODULE = '''
def letters(response, gold):
    """The share of the reference's letters that the response has."""
    return len(set(response) & set(gold)) / len(set(gold))
'''
PYPROJECT = """
[project]
name = "letter-verifier"
version = "1.0"

[project.entry-points."hpt.verifiers"]
letters = "letter_verifier:letters"
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "letter_verifier.py").write_text(MODULE)
    (source / "pyproject.toml").write_text(PYPROJECT)
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True)
    monkeypatch.syspath_prepend(site)
    return site


def test_every_stage_judges_by_the_function_of_a_package(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["stone", "ocean", "cloud", "bread", "light", "grape", "music", "table", "night", "horse"]
    rows = [{"problem": f"Spell {word}.", "answer": word} for word in words]
    people = [{"problem": row["problem"], "response": row["answer"]} for row in rows]
    people[0]["response"] = "ston"
    data = tmp_path / "project" / "raw" / "data"
    data.mkdir(parents=True)
    for name, part in (("own", rows[:8]), ("held", rows[8:]), ("people", people[:8])):
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    monkeypatch.chdir(data.parents[1])
    Path("params.yaml").write_text(PARAMS)
    params = load_params()
    torch.set_num_threads(params.threads)

    run_stage(params, "curate")
    report = json.loads(Path("data/prompts/report.json").read_text())
    assert report["sizes"]["train"] == 6
    assert report["verifier"]["own"]["unchecked"] == {"of kind letters": 6}
    for stage in ("base", "rollouts", "experts", "select@human", "train@human", "evaluate_base"):
        run_stage(params, stage)

    rewards = [row["reward"] for row in tables.read(Path("data/rollouts/base/rollouts.parquet"))]
    assert any(0 < reward < 1 for reward in rewards) and set(rewards) <= {i / 5 for i in range(6)}
    rates = tables.read(Path("data/rollouts/base/pass_rates.parquet"))
    assert any(row["pass_rate"] > row["solved"] / row["samples"] for row in rates)
    # "ston" has four of the five letters, which is no full credit.
    rejected = tables.read(Path("data/experts/quarantine.parquet"))
    verified = tables.read(Path("data/experts/experts.parquet"))
    assert {row["response"] for row in verified}.isdisjoint({"ston"})
    assert {row["reason"] for row in rejected} <= {"rejected_by_verifier", "left_out_by_curation"}
    assert 0 < len(verified) <= 6

    prompts = tables.read_benchmarks(Path("data/prompts/benchmarks.parquet"))["held"]
    measured = json.loads(Path("metrics/eval/base.json").read_text())["held"]["settings"]
    assert settings(params, "held", prompts) == measured
    policy = load_policy(Path("models/base"))
    inputs = train.run_inputs(params, "human", weights_hash(policy.model), PROJECT)
    assert inputs["verifiers"]["letters"]["package"] == "letter-verifier"
    assert inputs["verifiers"]["letters"]["version"] == "1.0"

    (packages / "letter_verifier.py").write_text(MODULE + "\n# another rule\n")
    assert differing_settings(measured, settings(params, "held", prompts)) == ["verifier"]
    assert train.run_inputs(params, "human", weights_hash(policy.model), PROJECT) != inputs

    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(packages)])
    for stage in ("curate", "rollouts", "experts", "train@human", "evaluate_base"):
        with pytest.raises(InputError, match=r"unknown answer kind 'letters'; the kinds are math, gsm8k"):
            run_stage(params, stage)
