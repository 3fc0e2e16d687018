"""A run that was killed and started again leaves the bytes of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import rmtree

import pytest
import torch

from hpt_core.config import OptimizerConfig
from hpt_core.data import tables
from hpt_core.errors import CheckpointError
from hpt_core.model import LoadedPolicy, load_policy, save_policy, weights_hash
from hpt_core.rollout.group import Group
from hpt_core.trainer import checkpoint
from hpt_core.trainer.checkpoint import Checkpoints, Records
from hpt_core.trainer.optim import build_optimizers
from pipelines import train
from pipelines.params import load_params

PARAMS = """
seed: 3
threads: 1
curate:
  train: [{name: s, reasoning_gym: chain_sum, size: 1, seed: 1}]
  dev_size: 1
  max_problem_chars: 100
  benchmarks: {held: [{name: s, reasoning_gym: chain_sum, size: 1, seed: 2}]}
base: {model: models/base}
teacher: null
rollout: {group_size: 4, max_prompt_tokens: 40, max_new_tokens: 8}
experts: {max_tokens: 40, licenses: [mit], sources: [{name: worked, kind: program}]}
arms: {program: {mix: {program: 1.0}}}
train:
  steps: 7
  prompts_per_step: 4
  gate: {gamma: 0.25}
  checkpoint_every: 2
  dev_every: 3
  optimizer: {name: muon, lr: 0.003, matrix_lr: 0.01}
evaluate: {samples: 2}
verifier: {}
tracking: {experiment: e, registered_model: m}
schedule: {cron: "0 2 * * *", timezone: UTC}
"""

# Trains in the current folder, tells its first step, and dies by SIGKILL at the moment that argv[1] names.
SCRIPT = """
import os, signal, sys
import torch
from hpt_core.trainer import checkpoint
from pipelines import train
from pipelines.params import load_params

torch.set_num_threads(1)
when, steps, saves = sys.argv[1], [], []

class Sink:
    def log(self, step, metrics):
        steps.append(step)
        if len(steps) == 1:
            print(step, flush=True)
        if when == f"step {step}":
            os.kill(os.getpid(), signal.SIGKILL)

def save_model(model, path, save=checkpoint.save_model):
    saves.append(path)
    if when == f"save {len(saves)}":
        open(path, "wb").write(b"half a file")
        os.kill(os.getpid(), signal.SIGKILL)
    save(model, path)

checkpoint.save_model = save_model
train.run(load_params(), "program", sinks=[Sink()])
"""

OUTPUTS = (
    "models/program/model.safetensors",
    "data/rollouts/program/rollouts.parquet",
    "data/rollouts/program/gate.parquet",
    "metrics/train/program.jsonl",
)


@pytest.fixture
def project(policy: LoadedPolicy, make_group: Callable[..., Group], tmp_path: Path) -> Path:
    """The inputs of `train`, of a size that takes a second."""
    groups = [make_group(f"{i} + {i}", [0], "program" if i % 3 else None) for i in range(9)]
    prompts = [tables.as_row(group.task.prompt) | {"answer": "9"} for group in groups]
    experts = [tables.as_row(group.task.expert) for group in groups if group.task.expert]
    tables.write(tmp_path / "data/prompts/train.parquet", prompts[:-1], tables.PROMPTS)
    tables.write(tmp_path / "data/prompts/dev.parquet", prompts[-1:], tables.PROMPTS)
    tables.write(tmp_path / "data/experts/experts.parquet", experts, tables.EXPERTS)
    # So that training draws random numbers, which a restart must draw again.
    policy.model.config.attention_dropout = 0.1
    save_policy(policy, tmp_path / "models/base")
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def killed(project: Path, when: str) -> str:
    """Trains until the kill; returns the first step that it took."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, when],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.strip()


def contents(project: Path) -> dict[str, bytes]:
    return {name: (project / name).read_bytes() for name in OUTPUTS}


def test_killed_and_started_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    params = load_params()
    train.run(params, "program")
    expected = contents(project)
    for name in OUTPUTS:
        (project / name).unlink()

    assert killed(project, "step 3") == "1", "before the checkpoint of step 4, after that of 2"
    # Half-way through the checkpoint of step 6, the second of this process.
    assert killed(project, "save 2") == "3"
    assert not any((project / name).exists() for name in OUTPUTS)
    train.run(params, "program")
    assert contents(project) == expected
    assert not (project / "checkpoints/program").exists(), "a finished run keeps no checkpoint"


def test_killed_while_discarding(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outputs stand, but DVC removes those of a stage that did not end well: no gap may be left."""
    monkeypatch.chdir(project)
    params = load_params()
    with monkeypatch.context() as patch:
        # The first file goes, and then the process does.
        def half(path: Path, ignore_errors: bool = False) -> None:
            if path.exists() and ("program" in path.name):
                rmtree(next(path.glob("*/records")))
                raise KeyboardInterrupt

        patch.setattr(checkpoint.shutil, "rmtree", half)
        with pytest.raises(KeyboardInterrupt):
            train.run(params, "program")
    expected = contents(project)
    for name in OUTPUTS:
        (project / name).unlink()
    train.run(params, "program")
    assert contents(project) == expected
    assert list((project / "checkpoints").iterdir()) == []


@pytest.fixture
def saved(policy: LoadedPolicy, tmp_path: Path) -> tuple[LoadedPolicy, Checkpoints]:
    """A policy that was stepped on once, checkpointed at step 4."""
    checkpoints = Checkpoints(tmp_path / "arm", "one")
    optimizers = build_optimizers(policy.model, OPTIMIZER)
    stepped(policy, optimizers)
    checkpoints.save(4, policy.model, optimizers, Records(metrics=[{"step": 4}]))
    return policy, checkpoints


OPTIMIZER = OptimizerConfig(name="muon", lr=0.01)


def stepped(policy: LoadedPolicy, optimizers: Sequence[torch.optim.Optimizer]) -> str:
    """One step on a fixed loss; returns the hash of the weights."""
    ids = torch.arange(12).reshape(2, 6)
    policy.model(input_ids=ids, labels=ids).loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    policy.model.zero_grad()
    return weights_hash(policy.model)


def fresh(policy: LoadedPolicy) -> LoadedPolicy:
    return LoadedPolicy(type(policy.model)(policy.model.config), policy.tokenizer)


def test_weights_and_optimizers_come_back(saved: tuple[LoadedPolicy, Checkpoints]) -> None:
    policy, checkpoints = saved
    other = fresh(policy)
    optimizers = build_optimizers(other.model, OPTIMIZER)
    assert checkpoints.resume(other.model, optimizers) == 4
    assert weights_hash(other.model) == weights_hash(policy.model)
    once_more = stepped(other, optimizers)
    # Without the state of its optimizer the same step goes elsewhere.
    checkpoints.resume(other.model, build_optimizers(other.model, OPTIMIZER))
    assert stepped(other, build_optimizers(other.model, OPTIMIZER)) != once_more
    again = build_optimizers(other.model, OPTIMIZER)
    checkpoints.resume(other.model, again)
    assert stepped(other, again) == once_more


def test_another_fingerprint_starts_anew(saved: tuple[LoadedPolicy, Checkpoints]) -> None:
    policy, checkpoints = saved
    other = fresh(policy)
    before = weights_hash(other.model)
    elsewhere = Checkpoints(checkpoints.root, "two")
    assert elsewhere.resume(other.model, build_optimizers(other.model, OPTIMIZER)) == 0
    assert weights_hash(other.model) == before
    assert elsewhere.metrics(4) == [] and checkpoints.metrics(4) == [{"step": 4}]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizers.safetensors"])
def test_a_checkpoint_cut_short(saved: tuple[LoadedPolicy, Checkpoints], name: str) -> None:
    policy, checkpoints = saved
    path = checkpoints.folder / "weights/000004" / name
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        CheckpointError, match=rf"{path.parent}: cannot be read .*; remove {checkpoints.folder} "
    ):
        checkpoints.resume(policy.model, build_optimizers(policy.model, OPTIMIZER))


def test_a_checkpoint_before_the_first_update(policy: LoadedPolicy, tmp_path: Path) -> None:
    """Steps of equal groups alone leave the optimizers without any state."""
    checkpoints, optimizers = Checkpoints(tmp_path, "one"), build_optimizers(policy.model, OPTIMIZER)
    checkpoints.save(2, policy.model, optimizers, Records())
    other = fresh(policy)
    assert checkpoints.resume(other.model, build_optimizers(other.model, OPTIMIZER)) == 2
    assert weights_hash(other.model) == weights_hash(policy.model)


def test_only_the_newest_weights_are_kept(saved: tuple[LoadedPolicy, Checkpoints]) -> None:
    policy, checkpoints = saved
    checkpoints.save(
        8, policy.model, build_optimizers(policy.model, OPTIMIZER), Records(metrics=[{"step": 8}])
    )
    assert [path.name for path in (checkpoints.folder / "weights").iterdir()] == ["000008"]
    assert checkpoints.metrics(8) == [{"step": 4}, {"step": 8}]


@pytest.mark.parametrize("change", ["seed: 4", "train prompts", "weights", "arm"])
def test_the_fingerprint_covers_what_decides_the_run(
    project: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.chdir(project)
    text = PARAMS
    policy = load_policy(Path("models/base"))
    before = train.fingerprint(load_params(), "program", policy, train.Paths())
    if change == "seed: 4":
        text = PARAMS.replace("seed: 3", "seed: 4")
    if change == "arm":
        text = PARAMS.replace("program: 1.0", "program: 0.5")
    if change == "train prompts":
        path = Path("data/prompts/train.parquet")
        tables.write(path, tables.read(path)[:-1], tables.PROMPTS)
    if change == "weights":
        stepped(policy, build_optimizers(policy.model, OPTIMIZER))
    Path("params.yaml").write_text(text)
    assert train.fingerprint(load_params(), "program", policy, train.Paths()) != before
