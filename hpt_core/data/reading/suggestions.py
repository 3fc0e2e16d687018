"""What a row has, and the entry of `columns` that would read a field of it, for error messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

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
