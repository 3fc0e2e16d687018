"""The reference answers of a data set's own files, for `hpt verify --gold-check`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from hpt_core.data.reading.files.location import Location
from hpt_core.data.reading.files.names import format_of
from hpt_core.data.reading.files.shards import data_files
from hpt_core.data.reading.formats import file_records
from hpt_core.data.reading.records import BadLine, Record
from hpt_core.errors import InputError
from hpt_core.types import Gold

SETTING = "the path of the answers"
COLUMNS = {
    "answer": ("answer", "gold", "ground_truth", "final_answer"),
    "solution": ("solution", "ground_truth_solution"),
    "kind": ("answer_kind", "kind"),
}
"""Column names of published data sets; the first that a row has is read."""


def read_golds(path: Path, kind: str | None) -> list[Gold]:
    """The answers of a file, of all data files of a folder, or of those that match a pattern.

    The columns are those of COLUMNS. If neither `kind` nor a column gives the kind, an answer that contains
    #### is gsm8k and any other is math. Raises InputError that names file, line and remedy.
    """
    files = [path] if path.is_file() else data_files(str(path)) or [path]
    return [_gold(where, record, kind) for file in files for where, record in _records(file)]


def _records(path: Location) -> Iterator[tuple[str, Record]]:
    """Records of a file, each with its line or, where several may share a line, its row."""
    for row, (line, record) in enumerate(file_records(path, SETTING), start=1):
        if isinstance(record, BadLine):
            raise InputError(
                f"{path}:{line}: {record.reason}: {record.detail}; give an array of objects, or one object "
                f"a line"
            )
        yield f"{path}:{line}" if format_of(path.name) == "jsonl" else f"{path}, row {row}", record


def _gold(where: str, record: Record, kind: str | None) -> Gold:
    answer, solution, kind_in_row = (
        next((record[name] for name in names if record.get(name) is not None), None)
        for names in COLUMNS.values()
    )
    if isinstance(answer, Decimal):
        answer = str(answer)
    elif isinstance(answer, dict | int | float) and not isinstance(answer, bool):
        answer = json.dumps(answer, default=float)
    if answer is None and (null := next((name for name in COLUMNS["answer"] if name in record), None)):
        raise InputError(f"{where}: {null!r} is null; fill it in, or leave the row out")
    if not isinstance(answer, str):
        raise InputError(f"{where}: no text in column {' or '.join(COLUMNS['answer'])}; name it so")
    answer_kind = kind or kind_in_row or ("gsm8k" if "####" in answer else "math")
    if answer_kind == "gsm8k" and solution is None and "\n" in answer:
        solution = answer
    return Gold(where, answer, str(answer_kind), str(solution) if solution is not None else None)
