"""`hpt verify --gold-check`: a table of the answers that the verifier accepts, and every exception."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpt_core.errors import InputError
from hpt_core.verifier import VerifierPool, check_kind
from hpt_core.verifier.gold_check import Gold, Refusal, read_golds, refusals

BENCHMARKS = Path("data/prompts/benchmarks.parquet")
LONGEST = 200  # characters of an answer that are shown


def check(files: Sequence[Path], kind: str | None, workers: int, timeout_s: float, root: Path) -> int:
    """Exit status: 0 if every answer of every data set is accepted in every form, else 1."""
    if kind is not None:
        check_kind(kind)
    if not files and not (root / BENCHMARKS).is_file():
        raise InputError(f"{BENCHMARKS} is not there: run `hpt run`, or give the files to check")
    table = Table("data set", "answers", "accepted", "refused")
    failed: list[Refusal] = []
    with VerifierPool(workers, timeout_s) as pool:
        for file in files or [root / BENCHMARKS]:
            golds = read_golds(file, kind)
            if not golds:
                raise InputError(f"{file}: no answers in it; give a file with an answer column")
            refused = refusals(golds, pool)
            failed += refused
            table.add_row(str(file), *_counts(golds, refused))
    for refusal in failed:
        print(_sentence(refusal))
    # The table last, where it is seen.
    Console().print(table)
    return 1 if failed else 0


def _counts(golds: Sequence[Gold], refused: Sequence[Refusal]) -> list[Text]:
    bad = len({refusal.gold.where for refusal in refused})
    return [Text(f"{count:,}", justify="right") for count in (len(golds), len(golds) - bad, bad)]


def _sentence(refusal: Refusal) -> str:
    gold = refusal.gold
    return (
        f"{gold.where}: {gold.kind} answer {gold.answer[-LONGEST:]!r} {refusal.form}: "
        f"extracted {(refusal.extracted or '')[:LONGEST]!r}: {refusal.reason}"
    )
