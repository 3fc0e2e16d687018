"""`hpt verify --mutation-check`: wrong verdicts on changed reference answers, then the rates in a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpt_core.data.reading.gold_answers import read_golds
from hpt_core.errors import InputError
from hpt_core.mutation import ErrorRates, error_rates
from hpt_core.mutation.check import Counts, Fault
from hpt_core.verifier import VerifierPool, check_kind
from pipelines.cli.gold_check import LONGEST
from pipelines.cli.parameters import echo
from pipelines.paths import BENCHMARK_PROMPTS


def check(files: Sequence[Path], kind: str | None, workers: int, timeout_s: float, root: Path) -> bool:
    """Whether the verifier rejects every mutant and accepts every rewrite of the answers of the data sets."""
    if kind is not None:
        check_kind(kind)
    if not files and not (root / BENCHMARK_PROMPTS).is_file():
        raise InputError(f"{BENCHMARK_PROMPTS} is not there: run `hpt run`, or give the files to check")
    tables: list[Table] = []
    faults: list[Fault] = []
    notes: list[str] = []
    with VerifierPool(workers, timeout_s) as pool:
        for file in files or [root / BENCHMARK_PROMPTS]:
            golds = read_golds(file, kind)
            if not golds:
                raise InputError(f"{file}: no answers in it; give a file with an answer column")
            rates = error_rates(golds, pool)
            faults += rates.faults
            notes += [
                f"{file}: {count:,} of {rates.answers:,} answers are not checked: {reason}"
                for reason, count in rates.unchecked.items()
            ]
            tables.append(_table(file, rates))
    for fault in faults:
        echo(_sentence(fault))
    for note in notes:
        echo(note)
    # The tables come last, so that they stay in view below a long list.
    Console().print(*tables)
    if not any(table.row_count for table in tables):
        raise InputError("no answer can be changed: the check is for the kinds math, gsm8k, choice and exact")
    return not faults


def _table(file: Path, rates: ErrorRates) -> Table:
    table = Table("change", title=Text(str(file), overflow="fold"), title_justify="left")
    for heading in ("made", "wrong verdicts", "rate, 95% interval"):
        table.add_column(heading, justify="right")
    for row in _rows(rates):
        table.add_row(*row)
    return table


def _rows(rates: ErrorRates) -> Iterator[list[Text]]:
    """A row for each change to a wrong answer, one for each rewrite with a wrong verdict, and the totals."""
    for change, made in sorted(rates.mutants.made.items()):
        yield _row(f"another {change}", made, rates.mutants.wrong[change])
    for change, wrong in sorted(rates.rewrites.wrong.items()):
        yield _row(f"harmless: {change}", rates.rewrites.made[change], wrong)
    if rates.mutants.made:
        yield _total("all wrong answers, accepted", rates.mutants)
    if rates.rewrites.made:
        yield _total("all rewrites, rejected", rates.rewrites)


def _total(name: str, counts: Counts) -> list[Text]:
    low, high = counts.interval()
    judged = counts.made.total() - counts.unjudged.total()
    share = f"{counts.wrong.total() / judged:.2%}, {low:.2%} to {high:.2%}" if judged else "none judged"
    return [*_row(name, counts.made.total(), counts.wrong.total()), Text(share)]


def _row(name: str, made: int, wrong: int) -> list[Text]:
    return [Text(name), Text(f"{made:,}"), Text(f"{wrong:,}")]


def _sentence(fault: Fault) -> str:
    variant, verdict = fault.variant, fault.verdict
    answer = variant.answer[:LONGEST]
    said = verdict.error or ("accepted" if verdict.correct else f"rejected, extracted {verdict.extracted!r}")
    what = f"wrong answer {answer!r}" if variant.is_mutant else f"harmless rewrite {answer!r}"
    gold = variant.gold
    return f"{gold.where}: {gold.kind} answer {gold.answer[-LONGEST:]!r}: {what} ({variant.change}): {said}"
