"""Which fields of the rows hold the options of a question, and how its answer names the right one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any

from hpt_core.config import BENCHMARKS
from hpt_core.data.inspection import contents
from hpt_core.data.inspection.fields import Field
from hpt_core.data.inspection.found import Found
from hpt_core.data.inspection.names import words
from hpt_core.data.reading.benchmarks import PUBLISHED
from hpt_core.data.reading.records import Record
from hpt_core.data.reading.values import MISSING, value_at

_NAMES = frozenset({"option", "choice", "ending", "candidate", "alternative"})
_ANSWER = frozenset({"answer", "label", "correct", "target", "gold"})
_FIRST = {"a": "abcdefghij", "A": "ABCDEFGHIJ", "0": "0123456789", "1": "123456789"}
"""The last characters of the names of columns that hold the options one by one."""
_FEW = 3
_ASKS_FOR_A_LETTER = "Answer with the letter of the right choice."


@dataclass(frozen=True)
class Options:
    """The options of each question: in one field, or each in a column of its own."""

    most: int
    """The largest number of options of a question."""
    path: str = ""
    """The list, object or text of `choices`."""
    columns: tuple[str, ...] = ()


def find_options(fields: Sequence[Field]) -> Options | None:
    """The options of each question; None where no fields hold any."""
    for field in fields:
        if contents.is_list_of_texts(field) and field.present and _are_options(field):
            return Options(max(map(len, field.present)), field.path.removesuffix(".text"))
    for field in fields:
        lists = contents.share(field.texts, contents.lists_options) >= contents.MOST
        if lists and contents.length(field) <= 600 and contents.share(field.texts, contents.asks) < 0.5:
            return Options(max(len(contents.option_letters(text)) for text in field.texts), field.path)
    return _in_columns(fields)


def _are_options(field: Field) -> bool:
    """Whether lists hold 2 to 10 short texts that differ and ask nothing."""
    named = not _NAMES.isdisjoint(words(field.path))
    return all(
        2 <= len(texts) <= 10
        and all(text.strip() and len(text) <= 300 for text in texts)
        and (named or (len(set(texts)) == len(texts) and not any(map(contents.asks, texts))))
        for texts in field.present
    )


def _in_columns(fields: Sequence[Field]) -> Options | None:
    """Options in columns that are numbered or lettered: opa to opd, options.A to options.D."""
    short = {field.path: field for field in fields if contents.mostly(field, contents.is_short)}
    for path in short:
        series = _FIRST.get(path[-1:])
        if series is None:
            continue
        columns = [path[:-1] + end for end in series]
        count = next((i for i, column in enumerate(columns) if column not in short), len(columns))
        if count >= 3:
            return Options(count, columns=tuple(columns[:count]))
    return None


def with_options(problem: Found, options: Options) -> Found:
    """The problem, with its options below it."""
    if options.path:
        entry = dict(problem.entry) if isinstance(problem.entry, dict) else {"read": problem.entry}
        # The reader puts options below a text as it stands, and so not below one that it unwraps.
        return problem if "unwrap" in entry else replace(problem, entry={**entry, "choices": options.path})
    if not isinstance(problem.entry, str):
        return problem
    question = problem.entry if "{" in problem.entry else f"{{{problem.entry}}}"
    lines = [
        f"({letter}) {{{column}}}" for letter, column in zip(ascii_uppercase, options.columns, strict=False)
    ]
    return replace(problem, entry="\n".join([question, "", *lines, "", _ASKS_FOR_A_LETTER]))


def find_choice(fields: Sequence[Field], options: Options) -> Found | None:
    """The letter of the right option, or its number from 0, as a letter."""
    for each in fields:
        if contents.mostly(each, _is_any_letter) and not contents.is_constant(each):
            return Found(each, each.path)
    numbered = [each for each in fields if _numbers_options(each, options)]
    named = [each for each in numbered if not _ANSWER.isdisjoint(words(each.name))]
    for each in named or numbered[:1]:
        meaning = {str(number): ascii_uppercase[number] for number in range(options.most)}
        return Found(each, {"read": each.path, "map": meaning})
    return None


def _numbers_options(field: Field, options: Options) -> bool:
    values = [value for value in field.present if isinstance(value, int) and not isinstance(value, bool)]
    fits = len(values) == len(field.present) > 0 and min(values) >= 0 and max(values) < options.most
    # In a few rows the right option may well stand in one place.
    few = len(values) < _FEW and not _ANSWER.isdisjoint(words(field.name))
    return fits and (len(set(values)) > 1 or few)


def _is_any_letter(value: Any) -> bool:
    return contents.is_letter(value) or (
        isinstance(value, str) and bool(re.fullmatch("[a-j]", value.strip()))
    )


def benchmark_of(rows: Sequence[Record]) -> str | None:
    """The benchmark of choices as whose published rows all of `rows` are read; None if there is none.

    Such is GPQA, whose right and wrong options have columns of their own.
    """
    for name, shapes in PUBLISHED.items():
        templates = [shape for shape in shapes if shape.template and BENCHMARKS[name].answer_kind == "choice"]
        for shape in templates:
            try:
                if all(
                    MISSING not in (value_at(row, shape.problem), value_at(row, shape.answer)) for row in rows
                ):
                    assert shape.template is not None
                    return name if all(shape.template(row) for row in rows) else None
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
    return None
