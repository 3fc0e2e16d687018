"""`python -m tests.bench.curation [--rows N ...]`: the time and memory of curation.

The prompts are drawn from a seed: four to six of eight sentences, with new numbers, names and things. One in
forty repeats another, one in forty repeats another but for a word, and one in a hundred is a problem of one
of the seven benchmarks, half of these with other numbers. Each size runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hpt_core.config import CurateConfig, PromptSource
from hpt_core.data.curation.pipeline import curate
from tests.bench.table import show

REQUIRED = {46_000: "60 s, 1 GiB"}
BENCHMARKS, PROBLEMS = 7, 500
CONSONANTS, VOWELS = ("b", "ch", "d", "fl", "gr", "k", "l", "m", "n", "p", "s", "st", "tr", "v", "z"), "aeiou"
SENTENCES = (
    "{a} keeps {n} {x} in the {y} of the old {z}.",
    "Every morning {a} carries {n} {x} from the {y} to {b}, who paints {m} of them {z}.",
    "At the {y} one {x} costs ${n}, and a {z} costs {m} percent more than that.",
    "{b} walks {n} miles along the {y} before the {x} opens, then rides a {z} for {m} hours.",
    "A {x} of length {n} is cut by {a} into pieces of {m}, and each piece weighs as much as {n} {z}.",
    "After the {y} closed, {b} gave {m} of the {x} back and found {n} more behind the {z}.",
    "The {z} has {n} rows of {x}, with {m} {y} in every row but the last.",
    "If {a} had bought {n} fewer {x}, there would have been {m} {z} left for the {y}.",
)
QUESTIONS = (
    "How many {x} does {a} have now?",
    "What does {b} pay for the {y} altogether?",
    "Find the number of {z} that {a} and {b} share.",
    "In how many hours is the {y} full of {x}?",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.curation", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[46_000])
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(_measure(options.rows[0])))
        return
    lines = []
    for rows in options.rows:
        command = [sys.executable, "-m", "tests.bench.curation", "--alone", "--rows", str(rows)]
        process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        result = json.loads(process.stdout.splitlines()[-1])
        rate = f"{rows / result['seconds']:,.0f}"
        cells = [
            f"{result['seconds']:.1f} s",
            f"{result['cpu']:.1f} s",
            rate,
            f"{result['before']:.0f}",
            f"{result['peak']:.0f}",
        ]
        lines.append(
            [
                f"{rows:,}",
                *cells,
                REQUIRED.get(rows, ""),
                f"{result['kept']:,}",
                json.dumps(result["dropped"]),
            ]
        )
    columns = ["rows", "took", "CPU", "rows/s", "MiB before", "peak MiB", "required", "kept", "dropped"]
    show(f"all filters, against {BENCHMARKS} benchmarks of {PROBLEMS} problems", columns, lines)


def _measure(rows: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        benchmarks = {f"bench{i}": _problems(PROBLEMS, f"bench{i}") for i in range(BENCHMARKS)}
        benchmark_problems = [problem for problems in benchmarks.values() for problem in problems]
        sources = {
            bench: [_write(folder / f"{bench}.jsonl", iter(problems))]
            for bench, problems in benchmarks.items()
        }
        train = _write(folder / "train.jsonl", _training(rows, benchmark_problems))
        config = CurateConfig(
            train=[train],
            benchmarks=sources,
            dev_size=128,
            min_problem_chars=10,
            max_problem_chars=4000,
            scripts=["Latin"],
        )
        before, start, cpu_start = _peak(), time.perf_counter(), time.process_time()
        counts = curate(config, 0, folder / "out")["sources"]["train"]["train"]
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    return {"seconds": seconds, "cpu": cpu, "before": before, "peak": _peak(), **counts}


def _peak() -> float:
    """Peak of resident memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _problems(count: int, seed: str) -> list[str]:
    draw = random.Random(seed)
    return [_problem(draw) for _ in range(count)]


def _problem(draw: random.Random) -> str:
    words = {key: _word(draw) for key in "xyz"} | {key: _word(draw).title() for key in "ab"}
    chosen = [*draw.sample(SENTENCES, draw.randint(3, 5)), draw.choice(QUESTIONS)]
    return " ".join(s.format(**words, n=draw.randint(2, 900), m=draw.randint(2, 90)) for s in chosen)


def _word(draw: random.Random) -> str:
    return "".join(draw.choice(CONSONANTS) + draw.choice(VOWELS) for _ in range(draw.randint(2, 3)))


def _training(rows: int, benchmark_problems: list[str]) -> Iterator[str]:
    draw = random.Random("train")
    last = _problem(draw)
    for row in range(rows):
        if row % 100 == 50:
            problem = draw.choice(benchmark_problems)
            yield problem if row % 200 == 50 else problem.replace("1", "7").replace("2", "5")
        elif row % 40 == 10:
            yield last
        elif row % 40 == 20:
            yield last.replace(" the ", " this ", 1)
        else:
            last = _problem(draw)
            yield last


def _write(path: Path, problems: Iterator[str]) -> PromptSource:
    with path.open("w", encoding="utf-8") as file:
        for problem in problems:
            # The same numbers have the same answer; every third answer is a fraction.
            digits = sum(int(c) for c in problem if c.isdigit())
            answer = str(digits) if digits % 3 else rf"\frac{{{digits}}}{{7}}"
            file.write(json.dumps({"problem": problem, "answer": answer}) + "\n")
    return PromptSource(name=path.stem, file=str(path), answer_kind="math")


if __name__ == "__main__":
    main()
