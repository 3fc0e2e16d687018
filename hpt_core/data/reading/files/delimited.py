"""Rows of CSV and TSV files under the names of the first row."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from io import TextIOWrapper
from itertools import chain
from typing import TextIO

from hpt_core.data.reading.files.compressed import text_bytes
from hpt_core.data.reading.files.location import Location
from hpt_core.data.reading.files.names import format_of
from hpt_core.data.reading.lines import MAX_LINE
from hpt_core.data.reading.records import BadLine, NumberedRecord, Record
from hpt_core.errors import InputError

_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_SEPARATOR = re.compile(r"sep=(.)\s*")
"""The first line that Excel writes and reads to name the separator."""


def delimited_records(path: Location, setting: str) -> Iterator[NumberedRecord]:
    """Rows of a CSV or TSV file, each with the line on which it ends. CSV may be separated by , ; tab or |.

    A column without a name is called by its place ("column 3").
    """
    # The limit of the csv module is one for the process; its default is 131,072 characters a cell.
    csv.field_size_limit(MAX_LINE)
    begins = 1
    try:
        with text_bytes(path, setting) as data:
            text = TextIOWrapper(data, "utf-8-sig", errors="surrogateescape", newline="")
            first, before = _first_line(text)
            separator = "\t" if format_of(path.name) == "tsv" else _separator(first)
            lines = _lines(text) if _SEPARATOR.fullmatch(first) else chain([first], _lines(text))
            before += bool(_SEPARATOR.fullmatch(first))
            rows = csv.reader(lines, delimiter=separator, strict=True)
            header: list[str] | None = None
            for row in rows:
                begins = before + rows.line_num + 1
                if not row:
                    continue
                if header is None:
                    header = _header(row, f"{path}:{before + rows.line_num}", setting)
                else:
                    yield before + rows.line_num, _record(header, row)
    except (csv.Error, UnicodeError) as error:
        raise InputError(
            f"{path}: not readable as CSV in UTF-8 (the row from line {begins}: {error}); save it again, or "
            f"correct {setting}"
        ) from error


def _first_line(text: TextIO) -> tuple[str, int]:
    """The first line that is not blank, and the number of lines before it."""
    before = 0
    for line in _lines(text):
        if line.strip():
            return line, before
        before += 1
    return "", before


def _lines(text: TextIO) -> Iterator[str]:
    while line := text.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise csv.Error(f"more than {MAX_LINE} characters without an end of line")
        if not line.isascii() and (byte := _NOT_UTF8.search(line)):
            raise UnicodeError(f"byte {ord(byte[0]) - 0xDC00:#x} is no utf-8")
        yield line


def _separator(first: str) -> str:
    """The separator that `first` names, or that cuts it into most columns; the comma if none does."""
    if named := _SEPARATOR.fullmatch(first):
        return named[1]
    return max(",;\t|", key=lambda separator: len(next(csv.reader([first], delimiter=separator))))


def _header(row: list[str], where: str, setting: str) -> list[str]:
    names = [name or f"column {number}" for number, name in enumerate(row, start=1)]
    if repeated := next((name for name, count in Counter(names).items() if count > 1), None):
        raise InputError(f"{where}: two columns are named {repeated!r}; rename one, or correct {setting}")
    return names


def _record(header: list[str], row: list[str]) -> Record | BadLine:
    if any("\0" in cell for cell in row):
        return BadLine(
            "malformed_csv", "a cell has NUL bytes, as after a crash while it was written", str(row)
        )
    if len(row) < len(header):
        detail = f"{len(row)} cells under {len(header)} columns: no {header[len(row) :]}"
        return BadLine("missing_column", detail, str(row))
    if any(beyond := row[len(header) :]):
        return BadLine("malformed_csv", f"cells beyond the last column: {beyond}", str(row))
    return dict(zip(header, row, strict=False))
