"""The processes that judge responses have no network, write nothing and see no secret."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpt_core.verifier import VerifierPool, pool, sandbox

sys.path.insert(0, str(Path(__file__).parent))
from escapes import attempts, escape

ATTEMPTS = list(attempts(Path(), 0, 0))
needs_linux = pytest.mark.skipif(
    bool(sandbox.missing()), reason=f"this system cannot forbid {' and '.join(sandbox.missing())}"
)


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("files")
    (folder / "victim.txt").write_text("untouched")
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"{folder}|{os.getpid()}|{server.getsockname()[1]}"
        assert (folder / "victim.txt").read_text() == "untouched"
        assert [path.name for path in folder.iterdir()] == ["victim.txt"]


@needs_linux
def test_each_way_out_is_refused_and_grading_goes_on(gold: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "planted-key")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:planted@host")
    asked = [*ATTEMPTS, "see a secret"]
    with VerifierPool(2, 10.0, escape) as verifier:
        verdicts = verifier.verify([(attempt, gold, "math") for attempt in asked])
    assert {name: verdict for name, verdict in zip(asked, verdicts, strict=True) if not verdict.correct} == {}


@needs_linux
def test_each_attempt_goes_through_without_the_sandbox(tmp_path: Path) -> None:
    """Otherwise the test above would show nothing."""
    harmless = [
        "write a file",
        "append to a file",
        "open a file to all",
        "connect by TCP",
        "send by UDP",
        "listen",
    ]
    (tmp_path / "victim.txt").write_text("x")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        VerifierPool(1, 10.0, escape, sandboxed=False) as verifier,
    ):
        gold = f"{tmp_path}|{os.getpid()}|{server.getsockname()[1]}"
        verdicts = verifier.verify([(attempt, gold, "math") for attempt in harmless])
    assert [verdict.extracted for verdict in verdicts] == ["it went through"] * len(harmless)


@needs_linux
def test_every_kind_of_verdict_is_the_same_with_and_without() -> None:
    items = [
        (r"\boxed{(x-1)(x+1)}", "x^2-1", "math"),
        (r"\boxed{0.3333}", r"\frac{1}{3}", "math"),
        ("#### 1,000.0", "1000", "gsm8k"),
        ("The answer is (B).", "B", "choice"),
        ("<answer>12</answer>", "12", "reasoning_gym:chain_sum"),
    ]
    verdicts = []
    for sandboxed in (True, False):
        with VerifierPool(1, 10.0, sandboxed=sandboxed) as verifier:
            verdicts.append(verifier.verify(items))
    assert verdicts[0] == verdicts[1] and all(verdict.error is None for verdict in verdicts[0])


def test_a_system_that_cannot_forbid_it_says_so_once_and_works(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sandbox, "missing", lambda: ["the network"])
    pool._say_what_is_missing.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with VerifierPool(1, 10.0) as verifier:
                assert verifier.verify([(r"\boxed{(x-1)(x+1)}", "x^2-1", "math")])[0].correct
    assert [record.getMessage() for record in caplog.records] == [
        "this system cannot forbid the network to the processes that judge responses: SECURITY.md"
    ]
    pool._say_what_is_missing.cache_clear()


@needs_linux
@pytest.mark.parametrize("ended_first", [False, True])
def test_a_sandbox_that_is_refused_grades_nothing(
    ended_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fork server imports the changed module before ours; the process must end, and never grade.

    `ended_first`: it has ended before it is sent anything.
    """
    send = pool._Worker.send

    def late(worker: pool._Worker, *arguments: Any) -> bool:
        time.sleep(0.5)
        return send(worker, *arguments)

    if ended_first:
        monkeypatch.setattr(pool._Worker, "send", late)
    (tmp_path / "sitecustomize.py").write_text(
        "from hpt_core.verifier import sandbox\n"
        "def refuse(): raise OSError(1, 'refused')\n"
        "sandbox.confine = refuse\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(str(tmp_path))
    with VerifierPool(1, 10.0) as verifier:
        [verdict] = verifier.verify([(r"\boxed{(x-1)(x+1)}", "x^2-1", "math")])
    assert not verdict.correct and verdict.error == "the grading process left with exit code 1"
