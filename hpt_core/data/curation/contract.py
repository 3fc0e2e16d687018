"""The contract of a prompt source, checked on its first rows before the rest is read.

Each row has, under the names that `columns` gives, a problem (text) and an answer (text, or a finite number)
that its answer kind can read. A single bad row is quarantined later, when it is read. A source without a
usable row is refused here, and one error names all such sources.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence

from hpt_core.config import CurateConfig, PromptSource
from hpt_core.config.columns import columns_read, entries, path_keys
from hpt_core.data.curation.filters import reference_answer
from hpt_core.data.curation.wrapping import shared_instruction
from hpt_core.data.reading.records import SourceRow
from hpt_core.data.reading.sources import FIRST, first_rows, why_unusable
from hpt_core.errors import InputError
from hpt_core.verifier import check_kind

log = logging.getLogger(__name__)

ENOUGH = 20
"""If no answer of at least so many rows can be read, the answer kind is wrong rather than a few rows."""

_REMEDIES = {
    "missing_column": "name its columns in `columns`, as in {problem: question, answer: solution}",
    "wrong_type": "a problem is text, an answer text or a number: convert the column, or name another",
    "duplicate_key": "give each key of an object once",
    "not_utf8": "save it again in UTF-8",
    "malformed_json": "give one JSON object a line",
    "not_an_object": "give one JSON object a line, with named columns",
    "line_too_long": "give one JSON object a line",
}


def check_sources(config: CurateConfig) -> dict[str, dict[str, list[str]]]:
    """The columns that are not used, by group and source, without the sources that have none.

    Raises InputError, with a line for each unusable source that names file, line or row, column and remedy.
    """
    faults: list[str] = []
    unused: dict[str, dict[str, list[str]]] = {}
    for group, key, sources in groups(config):
        _check_names(key, sources)
        for source in sources:
            columns, fault = _inspect(source)
            if fault:
                faults.append(f"{key}, source {source.name!r}: {fault}")
            if columns:
                unused.setdefault(group, {})[source.name] = columns
    if faults:
        raise InputError("params.yaml: " + "\n".join(faults))
    return unused


def groups(config: CurateConfig) -> Iterator[tuple[str, str, Sequence[PromptSource]]]:
    """(name in the report, key in params.yaml, sources), training first."""
    yield "train", "curate.train", config.train
    for name, sources in config.benchmarks.items():
        yield f"benchmark:{name}", f"curate.benchmarks.{name}", sources
    yield "against", "curate.decontamination.against", config.decontamination.against


def _check_names(key: str, sources: Sequence[PromptSource]) -> None:
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"params.yaml: {key} has two sources named {name!r}; rename one")


def _inspect(source: PromptSource) -> tuple[list[str], str | None]:
    """The columns that are not read, and what is wrong with the source as a whole."""
    try:
        check_kind(source.verifier_kind)
    except InputError as error:
        return [], str(error)
    if source.reasoning_gym:
        return [], None  # The task generates rows that fulfil the contract.
    kind = source.verifier_kind
    try:
        rows = first_rows(source)
    except InputError as error:
        return [], str(error)
    if fault := why_unusable(source, rows, _REMEDIES):
        return [], fault
    readable = [row for row in rows if isinstance(row, SourceRow)]
    unread = [(row, fault) for row in readable if (fault := reference_answer(row, source, kind)[1])]
    if len(unread) == len(readable) >= ENOUGH:
        row, fault = unread[0]
        return [], (
            f"{row.where}: {fault}; the same holds for all of the first {len(rows)} rows: correct "
            f"`answer_kind` (now {kind}), or the column of the answer in `columns`"
        )
    _hint_at_instruction(source, readable)
    return _unused(source, readable), None


def _hint_at_instruction(source: PromptSource, rows: Sequence[SourceRow]) -> None:
    """Warn where all problems stand in one instruction, which decontamination would read with them."""
    entry = entries(source.columns.get("problem", "problem"))[0]
    if source.benchmark or entry.unwrap is not None:
        return
    template = shared_instruction([row.values["problem"] for row in rows])
    if template is not None:
        log.warning(
            "source %s: every problem begins or ends with the same sentences; if they are an instruction, "
            "this takes them off: columns: {problem: {read: %s, unwrap: %s}}",
            source.name,
            json.dumps(entry.read),
            json.dumps(template, ensure_ascii=False),
        )


def _unused(source: PromptSource, rows: Sequence[SourceRow]) -> list[str]:
    if source.benchmark and not source.columns:
        return []  # The registry's row shapes say which columns are read.
    read = {"problem": "problem", "answer": "answer"} | source.columns
    paths = list(columns_read(read))
    used = {*paths, *(path_keys(path)[0] for path in paths)}
    return sorted({column for row in rows for column in row.record if column not in used})[:FIRST]
