"""What the stage experts would say of a file, before it is among the files that the stage reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hpt_core.config import ExpertSource
from hpt_core.data.reading.files.names import format_of
from hpt_core.data.reading.files.shards import check_names, data_files
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import FIRST, read_rows, why_unusable
from hpt_core.errors import InputError, one_line
from pipelines.inbox.destination import Folder
from pipelines.inbox.refused import Refused

CUT_OFF = ("malformed_json", "malformed_csv", "not_utf8")
"""Reasons of a last line whose end is missing; in a table, a missing column is another one."""


@dataclass(frozen=True)
class Counted:
    """The rows of a file."""

    rows: int
    unusable: dict[str, int]
    """Reason -> rows that the reader rejects; the stage experts quarantines them one by one."""


def check(source: ExpertSource, file: Path) -> Counted:
    """Read the whole of `file` as the stage experts reads files of `source`.

    Raises Refused where it cannot be read to its end, or no row is usable.
    """
    if file.stat().st_size == 0:
        raise Refused("empty", "0 bytes; upload it again", may_pass=True)
    reasons: Counter[str] = Counter()
    first: list[SourceRow | Reject] = []
    rows, usable, last = 0, False, None
    try:
        for row in read_rows(source.model_copy(update={"file": str(file)})):
            rows, last, usable = rows + 1, row, usable or isinstance(row, SourceRow)
            if len(first) < FIRST:
                first.append(row)
            if isinstance(row, Reject):
                reasons[row.reason] += 1
    except InputError as error:
        raise Refused("unreadable", _by_name(str(error), file), may_pass=True) from error
    # Files of strangers make parsers fail in every way; one of them must not stop the others.
    except Exception as error:
        raise Refused("unreadable", _by_name(one_line(error), file), may_pass=True) from error
    if not usable:
        why = why_unusable(source, first, {}) or "no row is usable"
        raise Refused("no_usable_row", _by_name(why, file), may_pass=True)
    of_table = ("missing_column",) if format_of(file.name) in ("csv", "tsv") else ()
    if isinstance(last, Reject) and last.reason in (*CUT_OFF, *of_table):
        detail = f"the last line, {last.line}, is {last.reason}: {last.detail}; upload the whole file"
        raise Refused("cut_off", _by_name(detail, file), may_pass=True)
    return Counted(rows, dict(sorted(reasons.items())))


def check_neighbours(folder: Folder, path: Path, root: Path) -> None:
    """Raise Refused where the source could not be read any more with a file at `path` beside those it has.

    A folder has files of one format, of one split, and none of them twice with another compression.
    """
    file, setting = folder.source.file, f"`file` of source {folder.source.name!r} in params.yaml"
    assert file is not None
    base = root / file
    try:
        present = [str(found) for found in data_files(str(base))]
        check_names(str(base), sorted({*present, str(root / path)}), setting)
    except InputError as error:
        raise Refused("does_not_fit", _by_name(str(error), root)) from error


def _by_name(message: str, path: Path) -> str:
    """The message without the folder in which the file is for the moment."""
    return message.replace(f"{path.parent}/", "").replace(f"{path}/", "")
