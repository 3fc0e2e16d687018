"""What a source of prompts must hold, checked on its first rows before anything is spent on the rest.

Each row has, under the names that `columns` gives, a problem (text) and an answer (text, or a finite number)
that its answer kind can read. One bad row is quarantined when its turn comes; a source of which no row is
usable is refused here, all such sources in one error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from hpt_core.config import CurateConfig, PromptSource
from hpt_core.data.curation.filters import reference
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import read_rows
from hpt_core.errors import InputError
from hpt_core.verifier import check_kind

FIRST = 100
"""Rows that are looked at."""
ENOUGH = 20
"""Answers none of which can be read: then it is the answer kind that is wrong, not a few rows."""

_REMEDIES = {
    "missing_column": "name its columns in `columns`, as in {problem: question, answer: solution}",
    "wrong_type": "a problem is text, an answer text or a number: convert the column, or name another",
    "not_utf8": "save it again in UTF-8",
    "malformed_json": "give one JSON object a line",
    "not_an_object": "give one JSON object a line, with named columns",
    "line_too_long": "give one JSON object a line",
}


def check(config: CurateConfig) -> dict[str, dict[str, list[str]]]:
    """The columns that are not used, by group and source; a source without any is left out.

    Raises InputError, a line for each unusable source, with file, line or row, column and remedy.
    """
    troubles: list[str] = []
    unused: dict[str, dict[str, list[str]]] = {}
    for group, key, sources in groups(config):
        _check_names(key, sources)
        for source in sources:
            columns, trouble = _look(source)
            if trouble:
                troubles.append(f"{key}, source {source.name!r}: {trouble}")
            if columns:
                unused.setdefault(group, {})[source.name] = columns
    if troubles:
        raise InputError("params.yaml: " + "\n".join(troubles))
    return unused


def groups(config: CurateConfig) -> Iterator[tuple[str, str, Sequence[PromptSource]]]:
    """(name in the report, key in params.yaml, sources), training first."""
    yield "train", "curate.train", config.train
    for name, sources in config.benchmarks.items():
        yield f"benchmark:{name}", f"curate.benchmarks.{name}", sources
    yield "against", "curate.decontamination.against", config.decontamination.against


def answer_kind(source: PromptSource) -> str:
    return source.answer_kind or f"reasoning_gym:{source.reasoning_gym}"


def _check_names(key: str, sources: Sequence[PromptSource]) -> None:
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"params.yaml: {key} has two sources named {name!r}; rename one")


def _look(source: PromptSource) -> tuple[list[str], str | None]:
    """Columns that no one reads, and what is wrong with the source as a whole."""
    try:
        check_kind(kind := answer_kind(source))
    except InputError as error:
        return [], str(error)
    if source.reasoning_gym:
        return [], None  # rows of our own making
    rows = list(islice(read_rows(source), FIRST))
    good = [row for row in rows if isinstance(row, SourceRow)]
    if not good:
        bad = next((row for row in rows if isinstance(row, Reject)), None)
        return [], _unusable(bad, len(rows)) if bad else f"{source.file or source.hub} has no rows"
    unread = [(row, trouble) for row in good if (trouble := reference(row, source, kind)[1])]
    if len(unread) == len(good) >= ENOUGH:
        row, trouble = unread[0]
        return [], (
            f"{row.where}: {trouble}; so it is in all of the first {len(rows)} rows: correct `answer_kind` "
            f"(now {kind}), or the column of the answer in `columns`"
        )
    return _unused(source, good), None


def _unusable(bad: Reject, seen: int) -> str:
    remedy = _REMEDIES.get(bad.reason, "correct `file`, `hub` or `columns`")
    rest = f"; none of the first {seen} rows is usable" if seen > 1 else ""
    return f"{bad.file}:{bad.line}: {bad.reason}: {bad.detail}{rest}; {remedy}"


def _unused(source: PromptSource, rows: Sequence[SourceRow]) -> list[str]:
    if source.benchmark and not source.columns:
        return []  # `forms` of the registry say which are read
    read = {"problem": "problem", "answer": "answer"} | source.columns
    used: Mapping[str, None] = dict.fromkeys(theirs.partition(".")[0] for theirs in read.values())
    return sorted({column for row in rows for column in row.record if column not in used})[:FIRST]
