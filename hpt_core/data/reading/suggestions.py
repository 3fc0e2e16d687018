"""What a row has, and the entry of `columns` that would read a field of it, for error messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hpt_core.config import Column
from hpt_core.config.columns import MARKS
from hpt_core.data.reading.meanings import number_in
from hpt_core.data.reading.records import Record
from hpt_core.data.reading.values import parsed

NAMES: Mapping[str, tuple[str, ...]] = {
    "problem": (
        "problem", "question", "query", "prompt", "messages", "conversations", "conversation", "turns",
        "dialog", "instruction", "input", "problem_text", "problem_statement",
    ),
    "answer": (
        "answer", "final_answer", "expected_answer", "ground_truth", "ground_truth_answer", "gold",
        "gold_answer", "reference_answer", "answerkey", "target", "label", "solution", "output",
    ),
    "response": (
        "response", "solution", "generation", "generations", "responses", "generated_solution", "completion",
        "completions", "output", "outputs", "messages", "conversations", "conversation", "turns", "target",
        "solutions", "r1_solution_1", "attempt", "answer", "ground_truth_solution",
    ),
    "keep": ("keep", "is_correct", "correct", "is_reasoning_complete"),
    "score": ("score", "is_correct", "correct", "correctness_math_verify", "pass_rate", "reward"),
    "author": ("author", "model", "model_name", "generator"),
}  # fmt: skip
"""Field -> the names that data sets give its column, in lower case, the likeliest first."""
SHOWN = 30
"""Keys that a message shows."""
DEPTH = 3
_ITEMS = 3
_HOLDS_A_VALUE = {"value", "text", "content"}


def keys_of(record: Record) -> list[str]:
    """The columns of a row and, with dots, the keys of the objects in them; the first SHOWN, sorted."""
    paths = sorted(_paths(record, lists=False))
    return paths if len(paths) <= SHOWN else [*paths[:SHOWN], "..."]


def entry_for(field: str, record: Record) -> str | None:
    """The entry of `columns` that reads `field` of such a row, by the names of its columns; None if none
    has a known name."""
    if field == "problem" and {"instruction", "input"} <= record.keys():
        return r'"{instruction}\n\n{input?}"'
    if field == "problem" and {"Body", "Question"} <= record.keys():
        return '"{Body} {Question}"'
    paths = sorted(_paths(record, lists=True), key=lambda path: path.count("."))
    named = {_name(path): path for path in reversed(paths)}
    return next((named[name] for name in NAMES.get(field, ()) if name in named), None)


def path_to_text(value: Any) -> str | None:
    """The path to the first text or number in an object or a list; None if there is none."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(item, str | int | float):
            return str(key)
        if (path := path_to_text(item)) is not None:
            return f"{key}.{path}"
    return None


def _name(path: str) -> str:
    """The last key of a path that names what it holds, in lower case."""
    keys = path.lower().split(".")
    return keys[-2] if keys[-1] in _HOLDS_A_VALUE and len(keys) > 1 else keys[-1]


def _paths(value: Any, above: str = "", depth: int = DEPTH, *, lists: bool) -> Iterator[str]:
    """The paths to what is no object; `lists`: also those into the first objects of a list."""
    held = parsed(value)
    if isinstance(held, dict) and held and depth:
        for key, item in held.items():
            yield from _paths(item, f"{above}.{key}" if above else str(key), depth - 1, lists=lists)
        return
    yield above
    if lists and isinstance(held, list) and depth:
        for number, item in enumerate(held[:_ITEMS]):
            if isinstance(item, dict):
                yield from _paths(item, f"{above}.{number}", depth, lists=lists)


def missing_column(name: str, column: Column, value: Any, record: Record) -> str:
    """Why a row lacks the value of a field, and the entry or the `root` that would read it."""
    state = f"no {column.read!r} ({name}): it is null" if value is None else f"no {column.read!r} ({name})"
    other = entry_for(name, record)
    hint = "" if other is None or other == column.read else f"; write `columns: {{{name}: {other}}}`"
    if value is None:
        return f"{state}{hint}"
    if rows := next((key for key, held in record.items() if _holds_rows(held)), None):
        hint = f"; if its rows are in {rows!r}, write `root: {rows}` beside `file`"
    return f"{state}; the row has {keys_of(record)}{hint}"


def _holds_rows(value: Any) -> bool:
    """Whether a value is a list of objects that have problems."""
    is_list = isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    return is_list and entry_for("problem", value[0]) is not None


def wrong_type(name: str, column: Column, value: Any, *, in_list: bool) -> str:
    """Why a value is not of the type of its field, and the entry that would make it one."""
    detail = f"{column.read!r} ({name}) is {type(value).__name__}: {value!r}"[:200]
    if name in MARKS and isinstance(value, str | int | float):
        rule = (
            "right_from: 0.5"
            if number_in(value) is not None
            else f'map: {{"{value}": true, ...: false}}'[:60]
        )
        return f"{detail}; write `{name}: {{read: {column.read}, {rule}}}`, as it is meant"
    if isinstance(value, bool) and name == "answer":
        return f'{detail}; write `answer: {{read: {column.read}, map: {{true: "Yes", false: "No"}}}}`'
    if isinstance(value, dict | list) and (path := path_to_text(value)) is not None:
        return f"{detail}; a text in it is at {column.read}{'.*' if in_list else ''}.{path}"
    return detail
