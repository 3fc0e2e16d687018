"""Training in two processes equals training in one, and survives the kill of one of the two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree

import pytest
from processes import is_running
from waiting import wait_for

from hpt_core import tables
from pipelines import train
from pipelines.params import load_params

OUTPUTS = (
    "models/program/model.safetensors",
    "models/program/config.json",
    "data/rollouts/program/rollouts.parquet",
    "data/rollouts/program/gate.parquet",
    "metrics/train/program.jsonl",
)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}

# Starts argv[1] processes of the command in argv[2:], as `python -m pipelines.train` does.
LAUNCHER = """
import logging, sys
from pipelines.stage.rank_processes import start
logging.basicConfig(format="%(message)s")
sys.exit(start(int(sys.argv[1]), sys.argv[2:], threads=1))
"""

# One of two ranks; the second is killed in step 3.
DYING = """
import os, signal, time
from pathlib import Path
from hpt_core.trainer import rollout_queue
from pipelines import train

def sample_groups(run, step, clock, sample=rollout_queue.sample_groups):
    if step == 3 and os.environ["RANK"] == "1":
        # The checkpoint of step 2 is written in the background.
        while not list(Path("checkpoints/program").glob("*/weights/000002")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return sample(run, step, clock)

rollout_queue.sample_groups = sample_groups
train.main()
"""


def launched(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )


def contents(project: Path) -> dict[str, bytes]:
    return {name: (project / name).read_bytes() for name in OUTPUTS}


def metrics(project: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (project / OUTPUTS[-1]).read_text().splitlines()]


def quiet(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """The metrics without the sampler mismatch, which is rounding that depends on the rows of a batch."""
    noise = [value for row in rows for name, value in row.items() if name.startswith("sampler/")]
    assert len(noise) == 3 * len(rows) and max(noise) < 1e-5
    return [{name: v for name, v in row.items() if not name.startswith("sampler/")} for row in rows]


def rollouts(project: Path, step: int) -> list[dict[str, object]]:
    return [row for row in tables.read(project / OUTPUTS[2]) if row["step"] == step]


class Sink:
    def __init__(self) -> None:
        self.steps: list[int] = []

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.steps.append(step)


@pytest.fixture
def two_ranks(project: Path) -> Path:
    """LUFFY: rollouts and demonstrations are trained on, though this policy never solves anything."""
    path = project / "params.yaml"
    text = path.read_text().replace("gate: {gamma: 0.25}", "algorithm: luffy\n  ranks: 2")
    path.write_text(text.replace("steps: 7", "steps: 5"))
    # Each rank draws its own dropout, so two differ from one.
    path = project / "models/base/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"attention_dropout": 0.0}))
    return project


@pytest.mark.slow
def test_the_run_of_two_ranks(
    two_ranks: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alone, killed = (tmp_path_factory.mktemp(name) / "project" for name in ("alone", "killed"))
    copytree(two_ranks, alone)
    copytree(two_ranks, killed)
    done = launched("-m", "pipelines.train", "program", cwd=two_ranks)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("train program 5/5") == 1, "only the main rank reports"
    assert "result" in json.loads((two_ranks / "logs/timings/train@program.json").read_text())
    assert not (two_ranks / "checkpoints/program").exists()

    monkeypatch.chdir(alone)
    train.run(load_params(), "program")
    for one, two in zip(rollouts(alone, 1), rollouts(two_ranks, 1), strict=True):
        # The rows decoded beside a row change the rounding of its log-probabilities and nothing else.
        assert two.pop("logprobs") == pytest.approx(one.pop("logprobs"), rel=1e-5)
        assert two == one, "the rank that samples a prompt does not matter"
    gate, gate_of_two = (
        tables.read(path / "data/rollouts/program/gate.parquet") for path in (alone, two_ranks)
    )
    assert gate_of_two == gate, "every rank makes the same plan and takes the same steps"
    assert {row["route"] for row in gate if row["trained"]} == {"both"}
    for one, two in zip(quiet(metrics(alone)), quiet(metrics(two_ranks)), strict=True):
        assert two == pytest.approx(one, rel=2e-3), "float32, and Muon's bfloat16"
    assert all(0 < row["offline_share"] < 1 for row in metrics(alone)), "rollouts are trained on"

    path = killed / "params.yaml"
    path.write_text(path.read_text().replace("  ranks: 2", "  ranks: 2\n  offload: optimizer"))
    script = killed / "dying.py"
    script.write_text(DYING)
    done = launched("-c", LAUNCHER, "2", str(script), "program", cwd=killed)
    assert done.returncode == 128 + signal.SIGKILL, done.stderr
    assert (
        "rank 1 of 2 was ended by SIGKILL; the same command resumes from the newest checkpoint" in done.stderr
    )
    assert "Traceback" not in done.stderr, "the other rank's lost connection is not reported"
    resumed_alone = killed.with_name("resumed")
    copytree(killed, resumed_alone)

    done = launched("-m", "pipelines.train", "program", cwd=killed)
    assert done.returncode == 0 and "train program 3/5" in done.stderr, done.stderr
    assert contents(killed) == contents(two_ranks), "also with the optimizer's moments in host memory"

    monkeypatch.chdir(resumed_alone)
    sink = Sink()
    train.run(load_params(), "program", sinks=[sink])
    assert sink.steps == [3, 4, 5], "the checkpoint of two ranks is one's as well"
    assert metrics(resumed_alone)[:2] == metrics(two_ranks)[:2]
    assert quiet(metrics(resumed_alone))[-1] == pytest.approx(quiet(metrics(two_ranks))[-1], rel=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("rows", ["packing: true", "context_parallel: 2"])
def test_adapters_with_packed_or_shared_rows_and_a_reference_in_two_ranks(
    two_ranks: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, rows: str
) -> None:
    """The trials of the model that come before training are the main rank's, which alone has the weights."""
    path = two_ranks / "params.yaml"
    more = f"\n  lora: {{rank: 4, alpha: 8}}\n  {rows}\n  kl: {{coefficient: 0.1}}"
    path.write_text(path.read_text().replace("\n  ranks: 2", f"\n  ranks: 2{more}"))
    alone = tmp_path_factory.mktemp("adapted") / "project"
    copytree(two_ranks, alone)
    text = path.read_text().replace("context_parallel: 2", "context_parallel: 1")
    (alone / "params.yaml").write_text(text)
    done = launched("-m", "pipelines.train", "program", cwd=two_ranks)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(alone)
    train.run(load_params(), "program")
    for one, two in zip(quiet(metrics(alone)), quiet(metrics(two_ranks)), strict=True):
        assert two == pytest.approx(one, rel=2e-3)


def test_a_rank_that_fails_ends_the_others(tmp_path: Path) -> None:
    script = "import os, sys, time; sys.exit(3) if os.environ['RANK'] == '1' else time.sleep(200)"
    started = time.monotonic()
    done = launched("-c", LAUNCHER, "2", "-c", script, cwd=tmp_path)
    assert time.monotonic() - started < 100
    assert done.returncode == 3
    assert done.stderr.strip() == "rank 1 of 2 failed; its error is printed above"


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_the_ranks_end_with_their_launcher(tmp_path: Path, ending: signal.Signals) -> None:
    script = tmp_path / "rank.py"
    script.write_text(
        "import os, time\nfrom pathlib import Path\nfrom pipelines.stage.rank_processes import joined_ranks\n"
        "with joined_ranks():\n    Path('pid').write_text(str(os.getpid()))\n    time.sleep(200)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, "1", str(script)], cwd=tmp_path, env=ENVIRONMENT
    ) as launcher:
        pid = int(wait_for((tmp_path / "pid").read_text))
        launcher.send_signal(ending)
        assert launcher.wait(60) == (-ending if ending == signal.SIGKILL else 128 + ending)
    wait_for(lambda: not is_running(pid), 20)
