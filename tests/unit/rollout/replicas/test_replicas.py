"""Replicas are real processes: they sample what an engine in this process samples, and end with a cause."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from policies import moved
from processes import is_running
from torch import Tensor
from waiting import wait_for

from hpt_core.config import Sampling
from hpt_core.errors import EngineError, InputError
from hpt_core.policy.model import LoadedPolicy, load_policy, save_policy
from hpt_core.policy.weights.hashed import HashedWeights, weights_hash
from hpt_core.protocols import ReportingEngine
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.replicas import remote
from hpt_core.rollout.replicas.engine import Replicas

WARM = Sampling(temperature=0.9, max_new_tokens=12)
LONG = Sampling(temperature=1.0, max_new_tokens=80)


def hf_engine(folder: Path) -> tuple[ReportingEngine, LoadedPolicy]:
    policy = load_policy(folder)
    return HFEngine(policy, slots=16), policy


def failing(folder: Path) -> tuple[ReportingEngine, LoadedPolicy]:
    raise InputError(f"{folder}: no model")


class Stuck(HFEngine):
    """Samples for ever."""

    def generate(self, *arguments: object) -> list[object]:  # type: ignore[override]
        time.sleep(600)
        raise AssertionError


def stuck_engine(folder: Path) -> tuple[ReportingEngine, LoadedPolicy]:
    policy = load_policy(folder)
    return Stuck(policy), policy


@pytest.fixture
def folder(policy: LoadedPolicy, tmp_path: Path) -> Path:
    save_policy(policy, tmp_path / "policy")
    return tmp_path / "policy"


@pytest.fixture
def two(folder: Path) -> Iterator[Replicas]:
    replicas = Replicas(partial(hf_engine, folder), 2, threads=1, device=torch.device("cpu"))
    yield replicas
    replicas.close()


def test_they_sample_as_an_engine_of_this_process_and_take_weights_over(
    policy: LoadedPolicy, prompt_tokens: list[list[int]], two: Replicas
) -> None:
    prompts, seeds = prompt_tokens * 2, range(10)
    assert two.policy == "", "they have no weights of the trainer's yet"
    drawn = []
    for trained in (policy, moved(policy, 0.3)):
        two.load_weights(HashedWeights(trained.model))
        assert two.policy == weights_hash(trained.model)
        drawn.append(two.generate(prompts, seeds, WARM))
        for one, other in zip(drawn[-1], HFEngine(trained).generate(prompts, seeds, WARM), strict=True):
            assert one.token_ids == other.token_ids and one.finish_reason == other.finish_reason
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
    assert drawn[0] != drawn[1]
    assert two.generate([], [], WARM) == []
    assert len(two.generate(prompts[:1], [1], WARM)) == 1, "one of the two has nothing to do"
    pids = [replica.process.pid for replica in two.replicas]
    two.close()
    assert not any(map(is_running, pids))


def test_a_replica_that_dies_while_it_samples_is_named_at_once(
    policy: LoadedPolicy, prompt_tokens: list[list[int]], folder: Path
) -> None:
    replicas = Replicas(partial(stuck_engine, folder), 2, threads=1, device=torch.device("cpu"))
    replicas.load_weights(HashedWeights(policy.model))
    kill = threading.Timer(0.5, replicas.replicas[1].process.send_signal, [signal.SIGKILL])
    kill.start()
    started = time.monotonic()
    with pytest.raises(EngineError, match="replica 2 of the sampler was ended by SIGKILL; the same command"):
        replicas.generate(prompt_tokens, range(5), WARM)
    assert time.monotonic() - started < 30
    replicas.close()


class Slow(HFEngine):
    """Takes a quarter of a second for each token."""

    def __init__(self, policy: LoadedPolicy) -> None:
        super().__init__(policy, slots=2)
        self.model.register_forward_hook(lambda *_: time.sleep(0.25))


def slow_engine(folder: Path) -> tuple[ReportingEngine, LoadedPolicy]:
    policy = load_policy(folder)
    return Slow(policy), policy


def test_a_replica_that_hangs_is_named_and_a_slow_one_is_waited_for(
    policy: LoadedPolicy, prompt_tokens: list[list[int]], folder: Path
) -> None:
    replicas = Replicas(partial(slow_engine, folder), 2, threads=1, device=torch.device("cpu"))
    replicas.load_weights(HashedWeights(policy.model))
    for replica in replicas.replicas:
        replica.timeout = 2
    started = time.monotonic()
    slow = replicas.generate(prompt_tokens, range(5), WARM)
    assert time.monotonic() - started > 5, "each signs with every token, and answers late"
    assert [c.token_ids for c in slow] == [
        c.token_ids for c in HFEngine(policy, slots=2).generate(prompt_tokens, range(5), WARM)
    ]
    stop = threading.Timer(1.5, replicas.replicas[1].process.send_signal, [signal.SIGSTOP])
    stop.start()
    started = time.monotonic()
    message = (
        r"replica 2 of the sampler \(process \d+\) hangs: it was sampling 3 responses, of which \d were "
        r"finished, and gave no sign of life since \d{4}-\d\d-\d\d .* for more than "
        r"rollout.replica_timeout_s \(2 s\); the same command goes on"
    )
    with pytest.raises(EngineError, match=message):
        replicas.generate(prompt_tokens, range(5), WARM)
    assert 2 < time.monotonic() - started < 15
    # What does not fit into the connection waits for its reader.
    stopped = replicas.replicas[1]
    remote._limit_transfers(stopped.connection, 1.5)
    with pytest.raises(EngineError, match=r"replica 2 .* hangs: it was reading, and gave"):
        stopped.send(bytes(10_000_000), "reading")
    pids = [replica.process.pid for replica in replicas.replicas]
    replicas.close()
    assert not any(map(is_running, pids)), "a stopped process is ended as well"


class Interrupted(HashedWeights):
    """Does something after a number of tensors."""

    def __init__(self, policy: LoadedPolicy, after: int, act: Callable[[], None]) -> None:
        super().__init__(policy.model)
        self.after, self.act = after, act

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for number, named in enumerate(super().__iter__()):
            if number == self.after:
                self.act()
            yield named


@pytest.mark.parametrize("after", [0, 5])
def test_a_replica_that_dies_in_a_push(policy: LoadedPolicy, two: Replicas, after: int) -> None:
    two.load_weights(HashedWeights(policy.model))
    started = time.monotonic()
    with pytest.raises(EngineError, match="replica 1 of the sampler was ended by SIGKILL"):
        two.load_weights(Interrupted(policy, after, two.replicas[0].process.kill))
    assert time.monotonic() - started < 60
    assert two.policy == "", "partly sent weights have no name"


def wide_engine(width: int, folder: Path) -> tuple[ReportingEngine, LoadedPolicy]:
    policy = load_policy(folder)
    widen(policy, width)
    return HFEngine(policy), policy


def widen(policy: LoadedPolicy, width: int) -> None:
    """Three weights more, which are sent last."""
    for number in range(3):
        policy.model.register_buffer(f"wide_{number}", torch.zeros(width, width))


@pytest.mark.slow
@pytest.mark.parametrize(("width", "number"), [(4, 2), (4000, 1)], ids=["small", "large"])
def test_a_replica_that_is_stopped_in_a_push_is_named_within_a_minute_or_so(
    policy: LoadedPolicy, folder: Path, width: int, number: int
) -> None:
    """Small weights all go into the connection of a stopped replica; one of 64 MB does not."""
    build = partial(wide_engine, width, folder)
    replicas = Replicas(build, 2, threads=1, device=torch.device("cpu"))
    widen(policy, width)
    stopped = replicas.replicas[number - 1]
    push = Interrupted(policy, 5, partial(stopped.process.send_signal, signal.SIGSTOP))
    started = time.monotonic()
    message = (
        rf"replica {number} of the sampler \(process \d+\) hangs: it was taking new weights.*, and gave no "
        r"sign of life since .*, for more than the 60 s that a push of weights may stand still; the same "
    )
    with pytest.raises(EngineError, match=message):
        replicas.load_weights(push)
    assert 55 < time.monotonic() - started < 90
    assert replicas.policy == "", "partly sent weights have no name"
    pids = [replica.process.pid for replica in replicas.replicas]
    replicas.close()
    assert not any(map(is_running, pids))


def test_a_replica_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model"):
        Replicas(partial(failing, tmp_path), 1, threads=1, device=torch.device("cpu"))


TRAINER = """
import sys, time
from functools import partial
from pathlib import Path
import torch
from test_replicas import stuck_engine
from hpt_core.rollout.replicas.engine import Replicas
replicas = Replicas(partial(stuck_engine, Path(sys.argv[1])), 1, threads=1, device=torch.device("cpu"))
Path(sys.argv[2]).write_text(str(replicas.replicas[0].process.pid))
time.sleep(600)
"""


@pytest.mark.slow
def test_a_replica_ends_with_a_trainer_that_is_killed(folder: Path, tmp_path: Path) -> None:
    written, here = tmp_path / "pid", Path(__file__).parent
    path = os.pathsep.join(map(str, [here, *sys.path]))
    command = [sys.executable, "-c", TRAINER, str(folder), str(written)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}) as trainer:
        pid = int(wait_for(written.read_text))
        assert is_running(pid)
        trainer.kill()
    wait_for(lambda: not is_running(pid), 20)


def test_replicas_have_gpus_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from hpt_core.rollout.replicas import engine

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    monkeypatch.setenv("RANK", "0")
    found = list(engine._environments(2, 3, first_gpu=2))
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == ["6", "7"]
    assert all(each["OMP_NUM_THREADS"] == "3" and "RANK" not in each for each in found)
    with pytest.raises(InputError, match=r"need 5 GPUs, and this machine has 4; lower one"):
        list(engine._environments(1, 1, first_gpu=4))
