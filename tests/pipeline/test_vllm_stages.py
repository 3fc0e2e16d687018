"""The stages rollouts and train on the real vLLM resume after a kill, with the same outputs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from every_stage import run_stage
from policies import skip_without_vllm

from hpt_core import tables
from hpt_core.errors import EngineError
from pipelines.params import load_params

skip_without_vllm()

pytestmark = pytest.mark.slow
REPO = Path(__file__).parents[2]
PARAMS = """
seed: 3
threads: 1
curate:
  train: [{name: sums, reasoning_gym: chain_sum, size: 24, seed: 1, license: mit, options:
    {min_terms: 2, max_terms: 2, min_digits: 1, max_digits: 1}}]
  dev_size: 4
  max_problem_chars: 200
  benchmarks: {held: [{name: held, reasoning_gym: chain_sum, size: 4, seed: 2, license: mit}]}
base:
  warm_start:
    hidden_size: 64
    layers: 2
    heads: 2
    max_positions: 192
    steps: 120
    batch_size: 16
    optimizer: {name: muon, lr: 0.005, matrix_lr: 0.02}
    sources: [{name: lessons, reasoning_gym: chain_sum, size: 300, seed: 5000, options:
      {min_terms: 2, max_terms: 2, min_digits: 1, max_digits: 1}}]
teacher: null
rollout: {engine: vllm, vllm: {cpu_cache_gib: 1}, group_size: 4, max_prompt_tokens: 120, max_new_tokens: 24,
  slots: 16}
experts: {max_tokens: 60, licenses: [mit], sources: [{name: worked, kind: program, license: mit}]}
arms: {program: {mix: {program: 1.0}}}
train:
  steps: 3
  prompts_per_step: 6
  gate: {gamma: 0.25}
  importance: {high: 2.0}
  checkpoint_every: 1
  optimizer: {lr: 0.001}
evaluate: {samples: 2, bootstrap: 200}
verifier: {}
tracking: {experiment: e, registered_model: m}
schedule: {cron: "0 2 * * *", timezone: UTC}
"""
# Runs a stage as its command does, and kills the process once the engine has answered argv[1] calls.
SCRIPT = """
import os, runpy, signal, sys
from hpt_core.rollout.engines.vllm import VLLMEngine
remaining = int(sys.argv.pop(1))

def generate(*arguments, real=VLLMEngine.generate):
    global remaining
    completions = real(*arguments)
    remaining -= 1
    if not remaining:
        os.kill(os.getpid(), signal.SIGKILL)
    return completions

VLLMEngine.generate = generate
runpy.run_module(sys.argv.pop(1), run_name="__main__")
"""
CHECK = 2
"""Calls that check an engine."""
ROLLOUTS, TRAINED = "data/rollouts/base", ("models/program", "data/rollouts/program", "metrics/train")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    (root / "params.yaml").write_text(PARAMS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        torch.set_num_threads(1)
        for stage in ("curate", "base", "rollouts", "experts", "select@program"):
            run_stage(load_params(), stage)
    return root


@pytest.fixture
def project(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(prepared, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def kill(calls: int, *command: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(calls), *command], env=env, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def hashes(root: Path, *outputs: str) -> dict[str, str]:
    files = [file for out in outputs for file in sorted((root / out).rglob("*")) if file.is_file()]
    assert files
    return {str(file.relative_to(root)): sha256(file.read_bytes()).hexdigest() for file in files}


def test_rollouts_resume_after_a_kill(prepared: Path, project: Path) -> None:
    shutil.rmtree(project / ROLLOUTS)
    kill(CHECK + 3, "pipelines.rollouts")
    (kept,) = Path("checkpoints/rollouts@base").glob("*")
    assert len(list(kept.glob("*.parquet"))) == 2, "the third part was not written"
    run_stage(load_params(), "rollouts")
    assert hashes(project, ROLLOUTS) == hashes(prepared, ROLLOUTS)
    rows = list(tables.read(project / ROLLOUTS / "rollouts.parquet"))
    assert len({row["policy"] for row in rows}) == 1 and 0 < sum(row["reward"] for row in rows) < len(rows)


def test_training_resumes_after_a_kill(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(project, tmp_path / "uninterrupted")
    kill(2 * CHECK + 2, "pipelines.train", "program")
    assert list(Path("checkpoints/program").rglob("*.safetensors")), "step 1 is kept"
    run_stage(load_params(), "train@program")
    monkeypatch.chdir(tmp_path / "uninterrupted")
    run_stage(load_params(), "train@program")
    assert hashes(project, *TRAINED) == hashes(tmp_path / "uninterrupted", *TRAINED)
    rows = list(tables.read(project / "data/rollouts/program/rollouts.parquet"))
    assert len({row["policy"] for row in rows}) == 3, "each step samples from new weights"


def test_an_engine_that_fails_loses_no_part(project: Path) -> None:
    """vLLM has no attention kernel for heads of 24 on a CPU, and fails in the middle of a batch."""
    text = Path("params.yaml").read_text().replace("hidden_size: 64", "hidden_size: 48")
    Path("params.yaml").write_text(text)
    shutil.rmtree("models/base")
    run_stage(load_params(), "base")
    shutil.rmtree(ROLLOUTS)
    with pytest.raises(
        EngineError, match=r"vLLM stopped while sampling 4 responses .*what was sampled before is kept"
    ):
        run_stage(load_params(), "rollouts")
    assert not Path(ROLLOUTS, "rollouts.parquet").exists(), "no rollout was invented"
    Path("params.yaml").write_text(text.replace("engine: vllm", "engine: hf"))
    run_stage(load_params(), "rollouts")
    assert Path(ROLLOUTS, "rollouts.parquet").exists()
