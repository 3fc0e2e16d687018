"""A run that was killed and resumed has the same output bytes as an undisturbed run."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import copytree, rmtree

import pytest
import torch

from hpt_core import tables
from hpt_core.config import OptimizerConfig
from hpt_core.errors import CheckpointError
from hpt_core.fingerprint import fingerprint
from hpt_core.policy.model import LoadedPolicy, load_policy, weights_hash
from hpt_core.policy.optimizers import build_optimizers
from hpt_core.trainer.checkpoint import Checkpoints, Records
from hpt_core.trainer.storage import run_folder
from pipelines import train
from pipelines.params import load_params
from pipelines.stage.training_data import PROJECT

# Trains in the current folder, prints its first step, and is killed at the moment that argv[1] names.
SCRIPT = """
import os, signal, sys, time
from pathlib import Path
import torch
from hpt_core.trainer.storage import shards
from pipelines import train
from pipelines.params import load_params
from pipelines.stage.training_data import PROJECT

torch.set_num_threads(1)
when, steps, saves = sys.argv[1], [], []

class Sink:
    def log(self, step, metrics):
        steps.append(step)
        if len(steps) == 1:
            print(step, flush=True)
        if when == f"step {step}":
            # The checkpoint of step 2 is written in the background.
            while not list(Path("checkpoints/program").glob("*/weights/000002")):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

def save_file(tensors, path, save=shards.save_file):
    saves.append(path)
    if when == f"save {len(saves)}":
        open(path, "wb").write(b"half a file")
        os.kill(os.getpid(), signal.SIGKILL)
    save(tensors, path)

shards.save_file = save_file
train.run(load_params(), "program", sinks=[Sink()])
"""

SHARDS = "rank0of1.safetensors"
"""The file of the only rank."""
OUTPUTS = (
    "models/program/model.safetensors",
    "data/rollouts/program/rollouts.parquet",
    "data/rollouts/program/gate.parquet",
    "metrics/train/program.jsonl",
)


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
    # The second process keeps the optimizer's moments in host memory, the first and the third do not.
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("dev_every: 3", "dev_every: 3\n  offload: optimizer"))
    # Half-way through the checkpoint of step 6, the second of this process, while training goes on.
    assert killed(project, "save 2") == "3"
    Path("params.yaml").write_text(text)
    assert not any((project / name).exists() for name in OUTPUTS)
    train.run(params, "program")
    assert contents(project) == expected
    assert not (project / "checkpoints/program").exists(), "a finished run keeps no checkpoint"


def test_killed_while_discarding(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC removes the outputs of a failed stage, so a kill while checkpoints are removed may lose nothing."""
    monkeypatch.chdir(project)
    params = load_params()
    with monkeypatch.context() as patch:
        # The process is killed after the first file was removed.
        def half(path: Path, ignore_errors: bool = False) -> None:
            if path.exists() and ("program" in path.name):
                rmtree(next(path.glob("*/records")))
                raise KeyboardInterrupt

        patch.setattr(run_folder.shutil, "rmtree", half)
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
    """A policy after one optimizer step, with a checkpoint at step 4."""
    checkpoints = Checkpoints(tmp_path / "arm", "one")
    optimizers = build_optimizers(policy.model, OPTIMIZER)
    stepped(policy, optimizers)
    checkpoints.save(4, policy.model, optimizers, Records(metrics=[{"step": 4}]))
    checkpoints.wait()
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
    # Without the optimizer's state, the same step gives other weights.
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


def test_what_differs_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run with changed inputs starts anew, warns once, and keeps the other run's checkpoint."""
    monkeypatch.chdir(project)
    assert killed(project, "step 3") == "1"
    (left,) = Path("checkpoints/program").iterdir()
    before = {path: path.read_bytes() for path in left.rglob("*") if path.is_file()}
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("seed: 3", "seed: 4").replace("gamma: 0.25", "gamma: 0.5"))
    path = Path("data/prompts/dev.parquet")
    tables.write(path, [row | {"answer": "8"} for row in tables.read(path)], tables.PROMPTS)
    params = load_params()
    monkeypatch.setattr(Checkpoints, "discard", lambda self: None)
    with caplog.at_level("WARNING"):
        train.run(params, "program")
    (message,) = [record.getMessage() for record in caplog.records if "checkpoints" in record.getMessage()]
    assert message.startswith(
        f"{left}: step 2 of a run with other data.dev, seed, train.gate.gamma is not resumed."
    )
    assert {path: path.read_bytes() for path in before} == before


def test_a_checkpoint_cut_short(saved: tuple[LoadedPolicy, Checkpoints]) -> None:
    policy, checkpoints = saved
    path = checkpoints.folder / "weights/000004" / SHARDS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        CheckpointError, match=rf"{path.parent}: cannot be read .*; remove {checkpoints.folder} "
    ):
        checkpoints.resume(policy.model, build_optimizers(policy.model, OPTIMIZER))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no shards": (lambda at: (at / "weights/000008" / SHARDS).unlink(), f"No such file.*{SHARDS}"),
    "no contents": (lambda at: (at / "weights/000008/contents.json").unlink(), "No such file"),
    "records gone": (lambda at: rmtree(at / "records/000004"), "not found"),
    "table cut": (lambda at: _cut(at / "records/000004/rollouts.parquet"), "rollouts|[Pp]arquet"),
    "lines cut": (lambda at: (at / "records/000008/metrics.jsonl").write_text(""), "rows of"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_checkpoint_that_is_not_whole(saved: tuple[LoadedPolicy, Checkpoints], damage: str) -> None:
    """Training neither restarts from scratch nor leaves a model without its records."""
    policy, checkpoints = saved
    optimizers = build_optimizers(policy.model, OPTIMIZER)
    checkpoints.save(8, policy.model, optimizers, Records(metrics=[{"step": 8}]))
    checkpoints.wait()
    do, words = DAMAGE[damage]
    do(checkpoints.folder)
    before = weights_hash(policy.model)
    with pytest.raises(
        CheckpointError, match=rf"{checkpoints.folder}.*({words}).*; remove .* from the start"
    ):
        Checkpoints(checkpoints.root, "one").resume(policy.model, optimizers)
    assert weights_hash(policy.model) == before


CHECKED = (
    f"weights/000008/{SHARDS}",
    "weights/000008/contents.json",
    "records/000004/rollouts.parquet",
    "records/000004/gate.parquet",
    "records/000008/metrics.jsonl",
)


@pytest.mark.parametrize("name", CHECKED)
def test_four_changed_bytes_are_refused(saved: tuple[LoadedPolicy, Checkpoints], name: str) -> None:
    policy, checkpoints = saved
    optimizers = build_optimizers(policy.model, OPTIMIZER)
    checkpoints.save(8, policy.model, optimizers, Records(metrics=[{"step": 8}]))
    checkpoints.wait()
    path = checkpoints.folder / name
    text = bytearray(path.read_bytes())
    text[-8:-4] = b"1234"
    path.write_bytes(text)
    before = weights_hash(policy.model)
    with pytest.raises(CheckpointError, match=f"{checkpoints.folder}/weights/000008: cannot be read"):
        Checkpoints(checkpoints.root, "one").resume(policy.model, optimizers)
    assert weights_hash(policy.model) == before


def test_an_intact_checkpoint_before_a_damaged_one_is_resumed(
    saved: tuple[LoadedPolicy, Checkpoints], caplog: pytest.LogCaptureFixture
) -> None:
    """A run that was killed between writing a checkpoint and removing the one before it has both."""
    policy, checkpoints = saved
    copytree(checkpoints.folder / "weights/000004", checkpoints.root / "kept")
    optimizers = build_optimizers(policy.model, OPTIMIZER)
    checkpoints.save(8, policy.model, optimizers, Records(metrics=[{"step": 8}]))
    checkpoints.wait()
    (checkpoints.root / "kept").rename(checkpoints.folder / "weights/000004")
    _cut(checkpoints.folder / f"weights/000008/{SHARDS}")
    assert Checkpoints(checkpoints.root, "one").resume(policy.model, optimizers) == 4
    assert "weights/000008: cannot be read" in caplog.text and "goes on from step 4" in caplog.text


def test_records_whose_weights_are_gone(saved: tuple[LoadedPolicy, Checkpoints]) -> None:
    policy, checkpoints = saved
    optimizers = build_optimizers(policy.model, OPTIMIZER)
    checkpoints.save(8, policy.model, optimizers, Records())
    checkpoints.wait()
    rmtree(checkpoints.folder / "weights")
    with pytest.raises(CheckpointError, match="the weights of step 8 are gone, its records are not; remove"):
        checkpoints.resume(policy.model, optimizers)


def test_a_checkpoint_of_another_optimizer(saved: tuple[LoadedPolicy, Checkpoints]) -> None:
    policy, checkpoints = saved
    adamw = build_optimizers(policy.model, OptimizerConfig(lr=0.01))
    with pytest.raises(CheckpointError, match=r"optimizers are \['AdamW', 'Muon'\], not \['AdamW'\]"):
        checkpoints.resume(policy.model, adamw)


def test_a_checkpoint_of_another_model(saved: tuple[LoadedPolicy, Checkpoints]) -> None:
    policy, checkpoints = saved
    shape = copy.deepcopy(policy.model.config)
    shape.intermediate_size += 1
    other = type(policy.model)(shape)
    before = weights_hash(other)
    with pytest.raises(CheckpointError, match=r"proj.weight is \[.*\] and should be \[.*\]"):
        checkpoints.resume(other, build_optimizers(other, OPTIMIZER))
    shape.intermediate_size -= 1
    shape.num_hidden_layers = 1
    shallow = type(policy.model)(shape)
    with pytest.raises(CheckpointError, match=r"other parameters than those trained: \['model.layers.1"):
        checkpoints.resume(shallow, build_optimizers(shallow, OPTIMIZER))
    assert weights_hash(other) == before


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


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
    checkpoints.wait()
    assert [path.name for path in (checkpoints.folder / "weights").iterdir()] == ["000008"]
    assert checkpoints.metrics(8) == [{"step": 4}, {"step": 8}]


@pytest.mark.parametrize("change", ["seed: 4", "train prompts", "weights", "arm"])
def test_the_fingerprint_covers_what_decides_the_run(
    project: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.chdir(project)
    text = Path("params.yaml").read_text()
    policy = load_policy(Path("models/base"))

    def found() -> str:
        weights = weights_hash(policy.model)
        return fingerprint(train.run_inputs(load_params(), "program", weights, PROJECT))

    before = found()
    if change == "seed: 4":
        text = text.replace("seed: 3", "seed: 4")
    if change == "arm":
        text = text.replace("program: 1.0", "program: 0.5")
    if change == "train prompts":
        path = Path("data/prompts/train.parquet")
        tables.write(path, tables.read(path)[:-1], tables.PROMPTS)
    if change == "weights":
        stepped(policy, build_optimizers(policy.model, OPTIMIZER))
    Path("params.yaml").write_text(text)
    assert found() != before
