"""Sampling in other processes while this one trains: the bytes of a run that samples in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from shutil import copytree

import pytest
from processes import is_running

from hpt_core import tables
from hpt_core.config import RolloutConfig
from hpt_core.errors import EngineError, InputError
from hpt_core.policy.model import LoadedPolicy
from hpt_core.rollout.replicas.engine import Replicas
from pipelines import rollouts, train
from pipelines.params import load_params
from pipelines.stage import sampler

OUTPUTS = (
    "models/program/model.safetensors",
    "data/rollouts/program/rollouts.parquet",
    "data/rollouts/program/gate.parquet",
    "metrics/train/program.jsonl",
)
SHARED = "rollout: {lag: 1, "
SEPARATE = "rollout: {placement: separate, lag: 1, "


def of(project: Path, rollout: str, to: Path, *changes: tuple[str, str]) -> Path:
    """A copy of the project, with the keys at the beginning of `rollout`."""
    copytree(project, to)
    text = (to / "params.yaml").read_text().replace("rollout: {", rollout)
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (to / "params.yaml").write_text(text)
    return to


def contents(project: Path) -> dict[str, bytes]:
    return {name: (project / name).read_bytes() for name in OUTPUTS}


class Recorded:
    """Keeps metrics, and does something at a step."""

    def __init__(self) -> None:
        self.steps: dict[int, Mapping[str, float]] = {}

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.steps[step] = metrics


def trained(project: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    monkeypatch.chdir(project)
    sink = Recorded()
    train.run(load_params(), "program", sinks=[sink])
    return sink


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Replicas]:
    """The replicas that a run of this process starts."""
    found: list[Replicas] = []

    class Noted(Replicas):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[arg-type]
            found.append(self)

    monkeypatch.setattr(sampler, "Replicas", Noted)
    return found


def test_separate_is_shared_to_the_byte_also_after_replicas_that_end_and_hang(
    project: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    started: list[Replicas],
) -> None:
    folder = tmp_path_factory.mktemp("placements")
    shared = of(project, SHARED, folder / "shared")
    trained(shared, monkeypatch)
    separate = of(project, SEPARATE, folder / "separate")
    sink = trained(separate, monkeypatch)
    assert contents(separate) == contents(shared)
    assert all("seconds/wait" in row and "seconds/generate" in row for row in list(sink.steps.values())[:-1])
    (replicas,) = started
    assert not is_running(replicas.replicas[0].process.pid), "a run ends its replicas"

    broken = of(project, SEPARATE, folder / "broken")
    monkeypatch.chdir(broken)

    class Strikes(Recorded):
        def __init__(self, at: int, number: signal.Signals) -> None:
            super().__init__()
            self.at, self.number = at, number

        def log(self, step: int, metrics: Mapping[str, float]) -> None:
            if step == self.at:
                (replica,) = started[-1].replicas
                replica.timeout = 3
                replica.process.send_signal(self.number)

    hangs = r"\(process \d+\) hangs: it was .* since .* for more than rollout.replica_timeout_s \(3 s\);"
    for at, number, how in ((3, signal.SIGKILL, "was ended by SIGKILL"), (5, signal.SIGSTOP, hangs)):
        with pytest.raises(EngineError, match=f"replica 1 of the sampler {how}"):
            train.run(load_params(), "program", sinks=[Strikes(at, number)])
        assert not is_running(started[-1].replicas[0].process.pid)
    sink = trained(broken, monkeypatch)
    assert min(sink.steps) == 5, "the newest checkpoint is that of step 4"
    assert contents(broken) == contents(shared)


def test_a_model_that_vllm_reads_twice_is_not_sent_to_a_replica(
    project: Path, policy: LoadedPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt_oss = policy._replace(model=type("GptOssForCausalLM", (), {})())
    monkeypatch.setattr(sampler, "load_policy", lambda folder: gpt_oss)
    rollout = RolloutConfig(engine="vllm", group_size=4, max_prompt_tokens=40, max_new_tokens=8)
    with pytest.raises(InputError, match=r"reads the weights of GptOssForCausalLM twice.* set it to shared"):
        sampler.build_replica(rollout, project / "models/base")


@pytest.mark.slow
def test_placement_decides_nothing(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was begun with one placement goes on with the other."""
    folder = tmp_path_factory.mktemp("moved")
    whole = of(project, SHARED, folder / "whole")
    trained(whole, monkeypatch)
    begun = of(project, SEPARATE, folder / "begun")
    monkeypatch.chdir(begun)

    class Ends(Recorded):
        def log(self, step: int, metrics: Mapping[str, float]) -> None:
            if step == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.run(load_params(), "program", sinks=[Ends()])
    params = begun / "params.yaml"
    params.write_text(params.read_text().replace(SEPARATE, SHARED))
    assert min(trained(begun, monkeypatch).steps) == 3
    assert contents(begun) == contents(whole)


@pytest.mark.slow
def test_a_stage_that_samples_alone_shares_its_prompts_among_replicas(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rows = tmp_path_factory.mktemp("stages"), []
    for name, keys in (
        ("shared", "slots: 8, "),
        ("separate", "slots: 8, placement: separate, replicas: 2, "),
    ):
        monkeypatch.chdir(of(project, "rollout: {" + keys, folder / name))
        rollouts.run(load_params())
        rows.append(list(tables.read(rollouts.OUT / "rollouts.parquet")))
    for one, two in zip(*rows, strict=True):
        # The rows decoded beside a row change the rounding of its log-probabilities and nothing else.
        assert two.pop("logprobs") == pytest.approx(one.pop("logprobs"), rel=1e-5)
        assert two == one


@pytest.mark.slow
def test_two_ranks_and_two_replicas(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """All ranks ask the same replicas, which the main rank started."""
    folder = tmp_path_factory.mktemp("ranks")
    # Each rank draws its own dropout, so two differ from one.
    config = project / "models/base/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"attention_dropout": 0.0}))
    runs = [
        of(project, SHARED, folder / "one"),
        of(project, SEPARATE + "replicas: 2, ", folder / "two", ("steps: 7", "steps: 7\n  ranks: 2")),
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    for run in runs:
        command = [sys.executable, "-m", "pipelines.train", "program"]
        done = subprocess.run(command, cwd=run, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    one, two = ([json.loads(line) for line in (run / OUTPUTS[-1]).read_text().splitlines()] for run in runs)
    for first, second in zip(one, two, strict=True):
        kept = {name for name in first if not name.startswith("sampler/")}
        assert {n: second[n] for n in kept} == pytest.approx({n: first[n] for n in kept}, rel=2e-3)
