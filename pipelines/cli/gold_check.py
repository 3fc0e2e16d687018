"""`hpt verify --gold-check`: the answers that the verifier refuses, then the counts in a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpt_core.data.reading.gold_answers import read_golds
from hpt_core.errors import InputError
from hpt_core.types import Gold
from hpt_core.verifier import VerifierPool, check_kind
from hpt_core.verifier.gold_check import Refusal, refusals
from pipelines.cli.parameters import echo
from pipelines.paths import BENCHMARK_PROMPTS

LONGEST = 200
"""Characters of an answer that are shown."""


def check(
    files: Sequence[Path],
    kind: str | None,
    workers: int,
    timeout_s: float,
    root: Path,
    sandboxed: bool = True,
) -> bool:
    """Whether the verifier accepts every answer of every data set in every form."""
    if kind is not None:
        check_kind(kind)
    if not files and not (root / BENCHMARK_PROMPTS).is_file():
        raise InputError(f"{BENCHMARK_PROMPTS} is not there: run `hpt run`, or give the files to check")
    table = Table("data set", "answers", "accepted", "refused")
    all_refused: list[Refusal] = []
    with VerifierPool(workers, timeout_s, sandboxed=sandboxed) as pool:
        for file in files or [root / BENCHMARK_PROMPTS]:
            golds = read_golds(file, kind)
            if not golds:
                raise InputError(f"{file}: no answers in it; give a file with an answer column")
            refused = refusals(golds, pool)
            all_refused += refused
            table.add_row(str(file), *_counts(golds, refused))
    for refusal in all_refused:
        echo(_sentence(refusal))
    # The table comes last, so that it stays in view below a long list.
    Console().print(table)
    return not all_refused


def _counts(golds: Sequence[Gold], refused: Sequence[Refusal]) -> list[Text]:
    """Answers, accepted answers and refused answers; an answer may be refused in several forms."""
    n_refused = len({refusal.gold.where for refusal in refused})
    counts = (len(golds), len(golds) - n_refused, n_refused)
    return [Text(f"{count:,}", justify="right") for count in counts]


def _sentence(refusal: Refusal) -> str:
    gold = refusal.gold
    return (
        f"{gold.where}: {gold.kind} answer {gold.answer[-LONGEST:]!r} {refusal.form}: "
        f"extracted {(refusal.extracted or '')[:LONGEST]!r}: {refusal.reason}"
    )
