"""Does the verifier accept a data set's own answers? For `hpt verify --gold-check`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpt_core.errors import InputError
from hpt_core.protocols import Verifier
from hpt_core.types import Verdict
from hpt_core.verifier.worker import Item

COLUMNS = {
    "answer": ("answer", "gold", "ground_truth", "final_answer"),
    "solution": ("solution", "ground_truth_solution"),
    "kind": ("answer_kind", "kind"),
}
"""Names under which data sets keep them; the first one there counts."""


@dataclass(frozen=True)
class Gold:
    """A data set's answer to one problem."""

    where: str
    """File and line, or file and row."""
    answer: str
    kind: str
    solution: str | None = None
    """The worked solution that ends in the answer."""


@dataclass(frozen=True)
class Refusal:
    """A form of its own answer that the verifier does not accept."""

    gold: Gold
    form: str
    extracted: str | None
    reason: str


def refusals(golds: Sequence[Gold], verifier: Verifier) -> list[Refusal]:
    """Each answer is judged alone, in a box, and in its solution where there is one."""
    items = [(gold, form, item) for gold in golds for form, item in _items(gold)]
    verdicts = verifier.verify([item for _, _, item in items])
    return [
        Refusal(gold, form, verdict.extracted, _reason(verdict))
        for (gold, form, _), verdict in zip(items, verdicts, strict=True)
        if not verdict.correct
    ]


def _items(gold: Gold) -> Iterator[tuple[str, Item]]:
    answer = _final(gold)
    # An answer of several lines, as reasoning-gym has, has to say where it begins.
    yield "alone", (f"<answer>{answer}</answer>" if "\n" in answer else answer, gold.answer, gold.kind)
    # A box that a data set put around its answer would be a box in a box.
    boxed = answer if "\\boxed" in answer else f"\\boxed{{{answer}}}"
    yield "boxed", (f"So the answer is {boxed}.", gold.answer, gold.kind)
    if gold.solution:
        yield "in its solution", (gold.solution, gold.answer, gold.kind)


def _final(gold: Gold) -> str:
    """Of a GSM8K solution what follows ####; of a reasoning-gym entry its answer."""
    if gold.kind == "gsm8k":
        return gold.answer.rpartition("####")[2].strip()
    if gold.kind.startswith("reasoning_gym:") and gold.answer.startswith("{"):
        return str(json.loads(gold.answer)["answer"])
    return gold.answer


def _reason(verdict: Verdict) -> str:
    if verdict.error is not None:
        return verdict.error
    return "no answer found" if verdict.extracted is None else "found unequal to the reference"


def read_golds(path: Path, kind: str | None) -> list[Gold]:
    """The answers of a JSON, JSONL or parquet file, or of those in a folder.

    Columns as in COLUMNS. Without `kind` and without a column for it, an answer that holds #### is gsm8k
    and any other is math. Raises InputError that names file, line and remedy.
    """
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if f.suffix in _READERS)
        return [gold for file in files for gold in read_golds(file, kind)]
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise InputError(f"{path}: not one of {', '.join(_READERS)}; convert it")
    try:
        return [_gold(where, row, kind) for where, row in reader(path)]
    except OSError as e:
        raise InputError(f"{path}: {e.strerror}; give a file or a folder with an answer column") from e


def _gold(where: str, row: Any, kind: str | None) -> Gold:
    if not isinstance(row, dict):
        raise InputError(f'{where}: not an object; write {{"problem": ..., "answer": ...}}')
    answer, solution, own_kind = (
        next((row[name] for name in names if row.get(name) is not None), None) for names in COLUMNS.values()
    )
    if isinstance(answer, dict | int | float) and not isinstance(answer, bool):
        answer = json.dumps(answer)
    if not isinstance(answer, str):
        raise InputError(f"{where}: no text in column {' or '.join(COLUMNS['answer'])}; name it so")
    given = kind or own_kind or ("gsm8k" if "####" in answer else "math")
    if given == "gsm8k" and solution is None and "\n" in answer:
        solution = answer
    return Gold(where, answer, str(given), str(solution) if solution is not None else None)


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8: {e.reason}; save the file as UTF-8") from e


def _json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(_text(path))
    except json.JSONDecodeError as e:
        raise InputError(f"{path}:{e.lineno}: not JSON: {e.msg}; give a list of objects") from e
    if not isinstance(rows, list):
        raise InputError(f"{path}: not a list; give a list of objects")
    yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, start=1))


def _jsonl_rows(path: Path) -> Iterator[tuple[str, Any]]:
    # Not splitlines(), which also splits at separators that JSON texts may hold.
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            try:
                yield f"{path}:{number}", json.loads(line)
            except json.JSONDecodeError as e:
                raise InputError(f"{path}:{number}: not JSON: {e.msg}; give one object per line") from e


def _parquet_rows(path: Path) -> Iterable[tuple[str, Any]]:
    import pyarrow.lib
    from pyarrow import parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except pyarrow.lib.ArrowInvalid as e:
        raise InputError(f"{path}: not parquet: {e}; write it again") from e
    return ((f"{path}, row {number}", row) for number, row in enumerate(rows, start=1))


_READERS = {".json": _json_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}
