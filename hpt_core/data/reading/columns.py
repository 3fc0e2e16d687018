"""Turns a record into `SourceRow`s: the values that the source's columns name, one row for each response.

A column map goes from the project's field to its entry (`hpt_core.config.columns`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, cast

from hpt_core.config import Column, Response, Turns
from hpt_core.config.columns import MARKS, Columns, entries, optional_path
from hpt_core.data.reading import chat_messages
from hpt_core.data.reading.benchmarks import RowShape
from hpt_core.data.reading.choices import with_choices
from hpt_core.data.reading.meanings import is_number, judged, mapped
from hpt_core.data.reading.records import Record, Reject, RowValues, SourceRow
from hpt_core.data.reading.suggestions import missing_column, wrong_type
from hpt_core.data.reading.values import MISSING, Unreadable, list_in, unwrapped, value_at, value_of

_RIGHT_FROM = 0.5
"""A score counts as right from this number, on scales of 0 and 1, of -1 and 1, and of shares."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_FINAL = re.compile(r"\\boxed|####|\banswer\b", re.IGNORECASE)
_NUMBERED = re.compile(r"\W*step\s*\d", re.IGNORECASE)


@dataclass(frozen=True)
class Fields:
    """How a source's rows are read."""

    columns: Columns
    turns: Turns
    lists_as_texts: bool = False
    """Whether an answer such as ["72"] is compared as the text that it is, brackets included."""

    @cached_property
    def entries(self) -> dict[str, Column]:
        """Field -> its entry; of several responses, the first."""
        return {name: entries(column)[0] for name, column in self.columns.items()}

    @cached_property
    def responses(self) -> list[dict[str, Column]]:
        """All fields for each of the entries of `response`, whose own marks take precedence."""
        return [
            self.entries
            | {"response": response}
            | {mark: entries(own)[0] for mark in MARKS if (own := getattr(response, mark, None)) is not None}
            for response in entries(self.columns["response"])
        ]


def read_by_shape(row: SourceRow, shapes: tuple[RowShape, ...], fields: Fields) -> SourceRow | Reject:
    """The row read by the first of `shapes` whose columns it has."""
    for shape in shapes:
        if MISSING in (value_at(row.record, shape.problem), value_at(row.record, shape.answer)):
            continue
        columns = {"problem": shape.problem, "answer": shape.answer}
        if shape.template is None:
            return read_row(row, row.record, replace(fields, columns=columns))
        try:
            problem, answer = shape.template(row.record)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return row.reject("not_as_published", f"{type(error).__name__}: {error}"[:200])
        values = {"problem": problem, "answer": answer}
        return read_row(row, values, replace(fields, columns={name: name for name in values}))
    expected = " or ".join(f"{shape.problem}, {shape.answer}" for shape in shapes)
    detail = f"wanted: {expected}; the row has {sorted(row.record)}; name its columns in `columns`"
    return row.reject("missing_column", detail)


def read_row(row: SourceRow, record: Record, fields: Fields) -> SourceRow | Reject:
    """`row` with the values of `record` under the project's names."""
    try:
        return _with_values(row, _values(record, fields.entries, fields), fields.entries, fields)
    except Unreadable as error:
        return row.reject(error.reason, error.detail)


def read_responses(row: SourceRow, fields: Fields) -> Iterator[SourceRow | Reject]:
    """`row` once for each of its responses, which several columns may hold, each one of them or a list."""
    several = not isinstance(fields.columns["response"], str | Column)
    sample = 0 if several else None
    for columns in fields.responses:
        for read in _responses(row, columns, fields, sample):
            yield read
            sample = None if sample is None else sample + 1
    if sample == 0:
        names = [columns["response"].read for columns in fields.responses]
        yield row.reject("no_response", f"none of {names} has a response")


def _responses(
    row: SourceRow, columns: Mapping[str, Column], fields: Fields, first: int | None
) -> Iterator[SourceRow | Reject]:
    """The responses of one entry; `first`: the number of the first, None for a row with one response."""
    response, turns = columns["response"], fields.turns
    if isinstance(response, Response) and response.kind is not None:
        row = replace(row, kind=response.kind)
    try:
        values = _values(row.record, columns, fields)
    except Unreadable as error:
        yield replace(row, sample=first).reject(error.reason, error.detail)
        return
    if (
        first is not None
        and optional_path(response.read).optional
        and values["response"] in (MISSING, None, "")
    ):
        return
    lists = {name for name, value in values.items() if chat_messages.is_list_of_values(value, turns)}
    if "response" not in lists and first is None:
        yield _with_values(row, values, columns, fields)
        return
    count = len(values["response"]) if "response" in lists else 1
    if uneven := {
        columns[name].read: len(values[name]) for name in sorted(lists) if len(values[name]) != count
    }:
        yield row.reject("uneven_lists", f"{response.read!r} has {count} responses, and {uneven}")
    elif values["response"] is MISSING:
        yield replace(row, sample=first).reject(
            "missing_column", missing_column("response", response, MISSING, row.record)
        )
    elif not count:
        yield row.reject("no_response", f"{response.read!r} is an empty list")
    elif lists == {"response"} and "*" not in response.read and _looks_like_steps(values["response"]):
        yield row.reject(
            "steps_or_responses",
            f"{response.read!r} is a list of {count} texts that look like the steps of one response; write "
            f'{{read: {response.read}, join: "\\n\\n"}}, or {response.read}.* if each is a response',
        )
    else:
        for i in range(count):
            own = {name: value[i] if name in lists else value for name, value in values.items()}
            present = {columns[name].read: value for name, value in own.items() if value is not MISSING}
            sample = i + (first or 0)
            one = replace(row, sample=sample, record={"sample": sample, **present})
            yield _with_values(one, own, columns, fields)


def _looks_like_steps(texts: Sequence[Any]) -> bool:
    """Whether the last of several texts alone states an answer, or each begins with the number of a step."""
    if len(texts) < 2 or not all(isinstance(text, str) for text in texts):
        return False
    final = [bool(_FINAL.search(text)) for text in texts]
    return (final[-1] and not any(final[:-1])) or all(_NUMBERED.match(text) for text in texts)


def _values(record: Record, columns: Mapping[str, Column], fields: Fields) -> dict[str, Any]:
    """What the columns read of the record, before it is converted to the types of the fields."""
    return {name: _value(name, column, record, fields) for name, column in columns.items()}


def _value(name: str, column: Column, record: Record, fields: Fields) -> Any:
    read = chat_messages.problem_in if name == "problem" else chat_messages.response_in
    value = value_of(column, record, partial(read, turns=fields.turns))
    if column.choices is not None and isinstance(question := read(value, fields.turns), str):
        value = with_choices(question, value_at(record, column.choices))
    if name in ("problem", "response"):
        return chat_messages.chat_in(value, fields.turns)
    return list_in(value) if name == "answer" and not fields.lists_as_texts else value


def _with_values(
    row: SourceRow, values: Mapping[str, Any], columns: Mapping[str, Column], fields: Fields
) -> SourceRow | Reject:
    """`row` with `values`, each of the type that its field has, or a reject for the first that is not."""
    checked: dict[str, Any] = {}
    unused: set[str] = set()
    for name, value in values.items():
        column = columns[name]
        if name == "score" and value is None:
            continue  # The source has not judged this response.
        if value is None or value is MISSING:
            return row.reject("missing_column", missing_column(name, column, value, row.record))
        if name in ("problem", "response") and (chat := chat_messages.exchange_in(value, fields.turns)):
            value = chat
            unused |= chat.unused
        try:
            read = _CONVERT[name](value, column, fields)
        except Unreadable as error:
            return row.reject(error.reason, f"{column.read!r} ({name}): {error.detail}")
        if read is None and name == "score":
            continue
        if not isinstance(read, bool if name in MARKS else str):
            return row.reject("wrong_type", wrong_type(name, column, read, in_list=row.sample is not None))
        if isinstance(read, str) and _SURROGATE.search(read):
            return row.reject("not_unicode", f"{column.read!r} ({name}) holds half a surrogate pair")
        checked[name] = read
    response = columns.get("response")
    if isinstance(response, Response) and response.author is not None:
        checked["author"] = response.author
    return replace(row, values=cast(RowValues, checked), unused_turns=tuple(sorted(unused)))


def _problem(value: Any, column: Column, fields: Fields) -> Any:
    return _text(chat_messages.problem_in(value, fields.turns), column)


def _response(value: Any, column: Column, fields: Fields) -> Any:
    return _text(chat_messages.response_in(value, fields.turns), column)


def _answer(value: Any, column: Column, fields: Fields) -> Any:
    chat = chat_messages.exchange_in(value, fields.turns)
    if chat and "assistant" not in chat.roles and column == fields.entries["problem"]:
        # Problems that are only compared with need no answers (`curate.decontamination.against`).
        return chat_messages.problem_in(chat, fields.turns)
    value = chat_messages.response_in(value, fields.turns)
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        if len(value) > 1:
            raise Unreadable(
                "several_answers",
                f"is a list of {len(value)} texts: {value!r}"[:120]
                + f'; write {{read: {column.read}, join: ", "}} if together they are the answer, or '
                f"{column.read}.0 for the first",
            )
        value = value[0]
    value = _text(value, column)
    return str(value) if is_number(value) else value


def _author(value: Any, column: Column, fields: Fields) -> Any:
    return _text(value, column)


def _text(value: Any, column: Column) -> Any:
    """The value after `unwrap` and `map`."""
    if column.unwrap is not None and isinstance(value, str):
        value = unwrapped(value, column.unwrap)
    return mapped(value, column)


def _keep(value: Any, column: Column, fields: Fields) -> Any:
    return judged(mapped(value, column), column)


def _score(value: Any, column: Column, fields: Fields) -> Any:
    value = judged(mapped(value, column), column)
    return value >= _RIGHT_FROM if is_number(value) else value


_CONVERT: Mapping[str, Callable[[Any, Column, Fields], Any]] = {
    "problem": _problem,
    "response": _response,
    "answer": _answer,
    "author": _author,
    "keep": _keep,
    "score": _score,
}
"""Field -> conversion of a value in it; a value of an unexpected type is returned as it is."""
