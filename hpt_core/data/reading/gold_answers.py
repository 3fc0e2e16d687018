"""The reference answers of a data set's own files, for `hpt verify --gold-check`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from hpt_core.data.reading.formats import BadLine, file_records
from hpt_core.data.reading.records import Record
from hpt_core.errors import InputError
from hpt_core.verifier.gold_check import Gold

SUFFIXES = (".json", ".jsonl", ".csv", ".parquet")
COLUMNS = {
    "answer": ("answer", "gold", "ground_truth", "final_answer"),
    "solution": ("solution", "ground_truth_solution"),
    "kind": ("answer_kind", "kind"),
}
"""Column names of published data sets; the first that a row has is read."""


def read_golds(path: Path, kind: str | None) -> list[Gold]:
    """The answers of a JSON, JSONL, CSV or parquet file, or of all such files in a folder.

    The columns are those of COLUMNS. If neither `kind` nor a column gives the kind, an answer that contains
    #### is gsm8k and any other is math. Raises InputError that names file, line and remedy.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
        return [gold for file in files for gold in read_golds(file, kind)]
    return [_gold(where, record, kind) for where, record in _records(path)]


def _records(path: Path) -> Iterator[tuple[str, Record]]:
    """Records of a file, each with its line or, where several may share a line, its row."""
    records = file_records(path, "the path of the answers")
    for row, (line, record) in enumerate(records, start=1):
        if isinstance(record, BadLine):
            raise InputError(
                f"{path}:{line}: {record.reason}: {record.detail}; give an array of objects, or one object "
                f"a line"
            )
        yield f"{path}:{line}" if path.suffix == ".jsonl" else f"{path}, row {row}", record


def _gold(where: str, record: Record, kind: str | None) -> Gold:
    answer, solution, kind_in_row = (
        next((record[name] for name in names if record.get(name) is not None), None)
        for names in COLUMNS.values()
    )
    if isinstance(answer, dict | int | float) and not isinstance(answer, bool):
        answer = json.dumps(answer)
    if not isinstance(answer, str):
        raise InputError(f"{where}: no text in column {' or '.join(COLUMNS['answer'])}; name it so")
    answer_kind = kind or kind_in_row or ("gsm8k" if "####" in answer else "math")
    if answer_kind == "gsm8k" and solution is None and "\n" in answer:
        solution = answer
    return Gold(where, answer, str(answer_kind), str(solution) if solution is not None else None)
