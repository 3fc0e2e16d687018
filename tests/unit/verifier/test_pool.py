"""The verifier pool: order, lost workers, time limits, and no processes left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import is_running
from waiting import wait_for

from hpt_core.types import Verdict
from hpt_core.verifier import VerifierPool, verify_lines
from hpt_core.verifier.worker import Grade

NESTED_SUM = r"\sum_{a=1}^{4000} \sum_{b=1}^{4000} \sum_{c=1}^{4000} \sqrt{abc}"
ENDLESS = (rf"\boxed{{{NESTED_SUM}}}", "5", "math")
HALF = (r"\boxed{0.5}", r"\frac{1}{2}", "math")
THIRD = (r"\boxed{0.5}", r"\frac{1}{3}", "math")

ALGEBRA = (r"\boxed{(x-1)(x+1)}", "x^2-1", "math")
WRONG_ALGEBRA = (r"\boxed{(x-1)(x+2)}", "x^2-1", "math")

GRADER = """
import os, time
from hpt_core.types import Verdict

def odd_grader(response, gold, kind):
    if response == "hang":
        time.sleep(60)
    if response == "exit":
        os._exit(3)
    if response == "kill":
        os.kill(os.getpid(), 9)
    if response == "memory":
        raise MemoryError
    if response == "stack":
        raise RecursionError
    if response == "raise":
        raise KeyError("metadata")
    return Verdict(response == gold, f"{response} by {os.getpid()}")
"""


@pytest.fixture
def odd_grader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Grade]:
    (tmp_path / "odd_grader_module.py").write_text(GRADER)
    monkeypatch.syspath_prepend(tmp_path)
    import odd_grader_module

    yield odd_grader_module.odd_grader
    del sys.modules["odd_grader_module"]


def children() -> set[int]:
    tasks = Path(f"/proc/{os.getpid()}/task")
    return {int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()}


def test_a_hang_costs_one_item_and_keeps_the_order() -> None:
    items = [
        ALGEBRA,
        ("#### 72", "72", "gsm8k"),
        THIRD,
        ENDLESS,
        HALF,
        WRONG_ALGEBRA,
        ("Answer: C", "D", "choice"),
    ]
    before = children()
    with VerifierPool(workers=1, timeout_s=1.0) as pool:
        verdicts = pool.verify(items)
        assert pool.verify([ALGEBRA])[0].correct
    assert [v.correct for v in verdicts] == [True, True, False, False, True, False, False]
    assert verdicts[3].error == "grading took over 1 s; raise verifier.timeout_s"
    assert [v.error for i, v in enumerate(verdicts) if i != 3] == [None] * 6
    assert children() == before


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("hang", "took over 0.5 s"),
        ("exit", "exit code 3"),
        ("kill", "signal 9"),
        ("raise", "KeyError"),
        ("memory", "MemoryError"),
        ("stack", "RecursionError"),
    ],
)
def test_a_fault_costs_one_item(odd_grader: Grade, workers: int, fault: str, words: str) -> None:
    responses = [str(i) for i in range(300)]
    responses[0] = responses[150] = responses[299] = fault
    with VerifierPool(workers, 0.5, odd_grader) as pool:
        verdicts = pool.verify([(r, str(i), "exact") for i, r in enumerate(responses)])
    for i, verdict in enumerate(verdicts):
        if responses[i] == fault:
            assert not verdict.correct and verdict.error is not None and words in verdict.error
            # A killed process or a faulty grader says nothing about the response.
            assert verdict.over_limit is (fault in ("hang", "memory", "stack"))
        else:
            assert verdict.correct and str(verdict.extracted).startswith(f"{i} by ")


def test_a_worker_that_ends_between_items_is_replaced_and_no_item_fails(odd_grader: Grade) -> None:
    with VerifierPool(1, 5.0, odd_grader) as pool:
        pid = int(str(pool.verify([("1", "1", "exact")])[0].extracted).split()[-1])
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        verdict = pool.verify([("1", "1", "exact")])[0]
    assert verdict.correct and verdict.error is None and str(pid) not in str(verdict.extracted)


def test_string_comparison_starts_no_process() -> None:
    before = children()
    with VerifierPool(2, 5.0) as pool:
        kinds = [
            ("#### 72", "72", "gsm8k"),
            ("(C)", "C", "choice"),
            ("b", "B", "exact"),
            (r"\boxed{3}", "3", "math"),
            HALF,
        ]
        assert all(v.correct for v in pool.verify(kinds))
        assert children() == before


def test_items_that_cannot_be_judged_get_an_error_and_raise_nothing() -> None:
    with VerifierPool(1, 5.0) as pool:
        verdicts = pool.verify(
            [
                ("1", "1", "maths"),
                ("Answer: 1", "2", "reasoning_gym:no_such"),
                ("#### 1", "one", "gsm8k"),
                ("Answer: 2", "3", "reasoning_gym:gcd"),
            ]
        )
    assert not any(v.correct for v in verdicts)
    errors = [v.error or "" for v in verdicts]
    assert (
        "the kinds are" in errors[0] and "no_such" in errors[1] and "no number" in errors[2] and not errors[3]
    )


def test_grading_works_off_the_main_thread() -> None:
    verdicts: list[Verdict] = []
    with VerifierPool(1, 5.0) as pool:
        thread = threading.Thread(target=lambda: verdicts.extend(pool.verify([ALGEBRA, WRONG_ALGEBRA])))
        thread.start()
        thread.join()
    assert [v.correct for v in verdicts] == [True, False]


def test_a_hanging_worker_ends_after_its_parent() -> None:
    script = (
        "import os, threading, time\n"
        "from pathlib import Path\n"
        "from hpt_core.verifier import VerifierPool\n"
        "pool = VerifierPool(1, 12.0)\n"
        f"threading.Thread(target=pool.verify, args=([{ENDLESS!r}],), daemon=True).start()\n"
        "def children(pid):\n"
        "    return ' '.join(f.read_text() for f in Path(f'/proc/{pid}/task').glob('*/children'))\n"
        "def grader(): return children(children('self').strip() or 'none').strip()\n"
        "while not grader(): time.sleep(0.1)\n"
        "stat = lambda: Path(f'/proc/{grader()}/stat').read_text().rpartition(')')[2].split()\n"
        # The worker was forked after the imports, so all of its CPU time belongs to the hang.
        "while sum(map(int, stat()[11:13])) < os.sysconf('SC_CLK_TCK'): time.sleep(0.1)\n"
        "print(grader(), flush=True)\n"
        "os._exit(1)\n"
    )
    # The worker inherits standard error; with a pipe there, run() would wait for the worker.
    process = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
    )
    pid = int(process.stdout)
    assert is_running(pid)
    wait_for(lambda: not is_running(pid), 60)


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def test_neither_the_package_nor_grading_imports_torch() -> None:
    script = (
        "import sys\n"
        "from hpt_core.verifier import VerifierPool, grade\n"
        "heavy = {'torch', 'transformers', 'sympy', 'mpmath', 'reasoning_gym'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert grade('#### 72', '72', 'gsm8k').correct and not heavy & set(sys.modules)\n"
        f"assert grade(*{HALF!r}).correct and not heavy & set(sys.modules)\n"
        f"assert grade(*{ALGEBRA!r}).correct and 'mpmath' in sys.modules\n"
        "assert grade('Answer: 4', '4', 'reasoning_gym:gcd').correct\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=environment())


def test_a_pool_whose_fork_server_is_killed_starts_another() -> None:
    before = children()
    with VerifierPool(1, 5.0) as pool:
        assert pool.verify([ALGEBRA])[0].correct
        (fork_server,) = children() - before
        grader = int(Path(f"/proc/{fork_server}/task/{fork_server}/children").read_text())
        for pid in (fork_server, grader):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        assert [v.correct for v in pool.verify([ALGEBRA, WRONG_ALGEBRA])] == [True, False]


def test_processes_are_replaced_after_their_lifetime(
    odd_grader: Grade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpt_core.verifier.pool.LIFETIME", 10)
    with VerifierPool(1, 5.0, odd_grader) as pool:
        verdicts = [pool.verify([(str(i), str(i), "exact")] * 5)[0] for i in range(6)]
    assert all(verdict.correct for verdict in verdicts)
    assert len({str(verdict.extracted).split()[-1] for verdict in verdicts}) == 3


HUGE = "9" * 50_000 + r"\sqrt{" * 7_000
HOSTILE = {
    "": False,
    " ": False,
    HUGE: False,
    f"\\boxed{{{HUGE}}}": False,
    r"\boxed{" * 20_000: False,
    r"\boxed{5": False,
    r"\boxed{5}}": True,
    r"\boxed{\frac{5}{1}": False,
    r"\boxed{4} or \boxed{5}": False,
    r"\boxed{5} or \boxed{4}": False,
    "The answer is not 5": False,
    r"\boxed{\text{not }5}": False,
    r"\boxed{5\text{ or }6}": False,
    r"\boxed{5 \text{ cm}}": True,
    r"\boxed{5^\circ}": True,
    r"\boxed{\$5.00}": True,
    r"\boxed{\{5\}}": True,
    r"\boxed{\{5, 6\}}": False,
    r"\boxed{[5, 6]}": False,
    r"\boxed{x = 5}": True,
    r"\boxed{x \ge 5}": False,
    r"\boxed{5 = 5}": True,
    "\\boxed{\ud800}": False,
}


def test_hostile_answers_are_judged() -> None:
    with VerifierPool(1, 5.0) as pool:
        verdicts = pool.verify([(response, "5", "math") for response in HOSTILE])
    for (response, correct), verdict in zip(HOSTILE.items(), verdicts, strict=True):
        assert (verdict.correct, verdict.error) == (correct, None), response[:100]


@pytest.mark.parametrize("workers", [1, 2])
def test_each_hang_costs_its_time_limit_and_no_other_item(workers: int) -> None:
    hang = [ENDLESS[0], rf"\boxed{{{NESTED_SUM}+1}}", rf"\boxed{{\sqrt{{{NESTED_SUM}}}}}"]
    items = [ALGEBRA, *((response, "x+1", "math") for response in hang), WRONG_ALGEBRA, ALGEBRA]
    with VerifierPool(workers, 1.0) as pool:
        verdicts = pool.verify(items)
    assert [v.correct for v in verdicts] == [True, False, False, False, False, True]
    for verdict in verdicts[1:4]:
        assert verdict.error is not None and "raise verifier.timeout_s" in verdict.error
    assert verdicts[4].error is None


def test_lines_keep_their_order_and_errors_name_the_line() -> None:
    lines: list[str | bytes] = [
        b'{"response": "#### 72", "gold": 72, "kind": "gsm8k"}\n',
        "\n",
        "{not json}",
        b'{"response": "\xff"}',
        '{"response": "x", "kind": "exact"}',
        '["response"]',
        '{"response": "Answer: 1", "gold": "1", "kind": "maths"}',
        '{"response": 3, "gold": "1", "kind": "exact"}',
        '{"response": "Answer: 3", "gold": "1", "kind": "exact"}',
        '{"response": "Answer: 3", "gold": "1", "gold": "3", "kind": "exact"}',
        '{"response": "Answer: 3", "gold": null, "kind": "exact"}',
    ]
    with VerifierPool(1, 5.0) as pool:
        out = list(verify_lines(lines, pool, "in.jsonl"))
    assert [row["correct"] for row in out] == [True] + [False] * 10
    assert "'gold' twice" in (out[9]["error"] or "") and "gold is null" in (out[10]["error"] or "")
    assert out[0] == {"correct": True, "extracted": "72", "error": None}
    assert out[8] == {"correct": False, "extracted": "3", "error": None}
    words = [
        "not JSON",
        "not JSON",
        "not UTF-8",
        "no gold",
        "not a JSON object",
        "the kinds are",
        "must be texts",
    ]
    for number, word in enumerate(words, start=2):
        assert (
            out[number - 1]["error"].startswith(f"in.jsonl:{number}: ") and word in out[number - 1]["error"]
        )
        assert out[number - 1]["extracted"] is None


def test_lines_are_streamed() -> None:
    with VerifierPool(1, 5.0) as pool:
        endless = iter(lambda: '{"response": "b", "gold": "B", "kind": "exact"}', None)
        assert next(verify_lines(endless, pool, "stdin"))["correct"]


def test_a_fault_of_the_verifier_is_an_error_of_one_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*item: str) -> Verdict:
        raise KeyError("no rule")

    monkeypatch.setattr("hpt_core.verifier.pool.grade_quickly", broken)
    with VerifierPool(1, 5.0) as pool:
        assert [verdict.correct for verdict in pool.verify([HALF, THIRD])] == [True, False]
