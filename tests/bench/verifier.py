"""`python -m tests.bench.verifier [--gsm8k FILE] [--math FILE]`: rate and memory of the verifier.

Without files, answers like those of GSM8K and MATH are generated. This bench needs no torch.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

from hpt_core.verifier import VerifierPool
from hpt_core.verifier.worker import Item
from tests.bench.table import show

STEPS = "We see that $x^2 + 1 = \\frac{a}{b}$, so it is enough to look at the ratio of the two. " * 12
_NESTED_SUM = r"\sum_{a=1}^{4000} \sum_{b=1}^{4000} \sum_{c=1}^{4000} \sqrt{abc}"
HANGS = (_NESTED_SUM, rf"{_NESTED_SUM}-1", rf"\sqrt{{{_NESTED_SUM}}}", rf"2^{{{_NESTED_SUM}}}")
TIMEOUT_S = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.verifier", description=__doc__)
    parser.add_argument("--gsm8k", type=Path, help="JSONL with a solution in column answer")
    parser.add_argument("--math", type=Path, help="JSON list with column answer")
    options = parser.parse_args()
    gsm8k, golds = _gsm8k(options.gsm8k), _math(options.math)
    right = [(_solution(gold), gold, "math") for gold in golds]
    wrong = [(_solution(golds[i - 1]), gold, "math") for i, gold in enumerate(golds)]
    # x + 0 is equal to x and a different text, so comparing texts does not accept it.
    rewritten = [(_solution(f"{gold} + 0"), gold, "math") for gold in golds if not gold.startswith("\\text")]
    cases = {
        "GSM8K solutions": (gsm8k, "5,000"),
        "MATH answers in solutions": (right, "800"),
        "the same, each with another problem's answer": (wrong, ""),
        "the same, each written + 0": (rewritten, ""),
    }
    show(
        "one worker, answers per second; the first round starts the process",
        ["what", "answers", "first", "second", "required"],
        [[name, str(len(items)), *_rates(items), required] for name, (items, required) in cases.items()],
    )
    _hangs(wrong)
    _memory(wrong + rewritten)


def _rates(items: list[Item]) -> list[str]:
    with VerifierPool(1, 5.0) as pool:
        return [f"{len(items) / _seconds(pool, items):,.0f}" for _ in range(2)]


def _seconds(pool: VerifierPool, items: list[Item]) -> float:
    start = time.perf_counter()
    pool.verify(items)
    return time.perf_counter() - start


def _hangs(items: list[Item]) -> None:
    """Time 980 answers alone, then with 20 more that hang or are 100,000 characters long."""
    plain = (items * (980 // len(items) + 1))[:980]
    hostile = [*HANGS * 4, *["\\frac{" * 16_667] * 4]
    mixed: list[Item] = [*plain, *((f"\\boxed{{{text}}}", "x+1", "math") for text in hostile)]
    random.Random(0).shuffle(mixed)
    rows = []
    for workers in (1, 2):
        with VerifierPool(workers, TIMEOUT_S) as pool:
            alone = _seconds(pool, plain)
        with VerifierPool(workers, TIMEOUT_S) as pool:
            start = time.perf_counter()
            verdicts = pool.verify(mixed)
            elapsed = time.perf_counter() - start
        timed_out = sum("took over" in (verdict.error or "") for verdict in verdicts)
        bound = 3 * alone + timed_out * TIMEOUT_S / workers
        cells = [f"{alone:.2f} s", f"{elapsed:.2f} s", f"{bound:.2f} s", str(timed_out), str(len(verdicts))]
        rows.append([str(workers), *cells])
    columns = ["workers", "980 alone", "1,000", "required: under", "timed out", "judged"]
    show(f"1,000 answers of which 20 are hostile, {TIMEOUT_S:g} s for one", columns, rows)


def _memory(items: list[Item]) -> None:
    rows = []
    with VerifierPool(1, 5.0) as pool:
        judged = 0
        for goal in (5_000, 25_000, 50_000, 75_000, 100_000):
            while judged < goal:
                pool.verify(items)
                judged += len(items)
            rows.append([f"{judged:,}", f"{_resident():,.0f}"])
    show("MiB resident in the pool's processes", ["answers", "MiB"], rows)


def _resident() -> float:
    """MiB resident in the descendants of this process; shared memory is counted in each."""
    return sum(_tree(pid) for pid in _children("self")) / 2**10


def _tree(pid: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return own + sum(_tree(child) for child in _children(pid))


def _children(pid: str) -> list[str]:
    return [
        child
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def _gsm8k(path: Path | None) -> list[Item]:
    if path is not None:
        solutions = [json.loads(line)["answer"] for line in path.open(encoding="utf-8")]
        return [(solution, solution, "gsm8k") for solution in solutions]
    draw = random.Random(0)
    pairs = [(draw.randint(2, 900), draw.randint(2, 900)) for _ in range(5_000)]
    texts = [f"She sold {a}+{b} = <<{a}+{b}={a + b}>>{a + b} clips in all.\n#### {a + b:,}" for a, b in pairs]
    return [(text, text, "gsm8k") for text in texts]


def _math(path: Path | None) -> list[str]:
    if path is not None:
        return [row["answer"] for row in json.loads(path.read_text(encoding="utf-8"))]
    draw = random.Random(0)
    forms = (
        "{0}", "{0}", "{0}", r"\frac{{{0}}}{{{1}}}", r"{0}\sqrt{{{1}}}", "({0},{1})", r"{0}x^2-{1}x+{2}",
        r"({0},\infty)", r"{0}-{1}i", r"{0}\pi", r"\{{{0}\pm\sqrt{{{1}}},{2}\}}", r"{0}^\circ",
    )  # fmt: skip
    return [draw.choice(forms).format(*(draw.randint(2, 60) for _ in range(3))) for _ in range(500)]


def _solution(answer: str) -> str:
    return f"{STEPS}\nTherefore the answer is $\\boxed{{{answer}}}$."


if __name__ == "__main__":
    main()
