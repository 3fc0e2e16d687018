"""Answers to reasoning-gym tasks, judged by the scorer of each task."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from hpt_core.errors import InputError, VerifierError

PREFIX = "reasoning_gym:"

_EVALUATED_FOR_PARTIAL_CREDIT = frozenset({"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"})
"""Tasks whose scorers call eval() on the answer to give partial credit. Only full credit counts here, which
they give for equality with a reference, so these answers are compared and never reach the scorer."""

_PARSED_AS_EXPRESSION = {
    "countdown": frozenset[str](),
    "puzzle24": frozenset[str](),
    "polynomial_multiplication": frozenset[str](),
    "simple_integration": frozenset({"exp", "log", "ln", "sin", "cos", "tan", "sqrt"}),
    "intermediate_integration": frozenset(
        {"exp", "log", "ln", "sin", "cos", "tan", "sec", "csc", "cot", "sinh", "cosh", "tanh"}
        | {"asin", "acos", "atan", "sqrt", "Abs", "pi", "erf", "sign"}
    ),
}
"""Tasks whose scorers pass the answer to sympy.parse_expr, which calls eval(), and the functions that the
answer may name. Otherwise it may hold only numbers, one-letter names and + - * / ^ ( ), so that it cannot
contain an attribute, a string, an index or any other call."""

_EXPRESSION = re.compile(r"(?>\d+(?:\.\d+)?|\.\d+|[A-Za-z]+|[-+*/^()\s])*+")
_TOWER = re.compile(r"(?:\*\*|\^)\s*(?:\d{3,}|\(?\s*\d+\s*(?:\*\*|\^))")
"""An exponent of three digits, or one that is itself a power. Towers of powers in another spelling run into
the time limit instead."""
_MAX_EXPRESSION = 1000  # characters
_DECLARATION = re.compile(r'^DATASET_NAME = "(\w+)"', re.MULTILINE)

_EVALUATED_REFERENCE = {
    "bitwise_arithmetic": ("problem", re.compile(r"[0-9a-fA-Fx()+\-*<>\s]*")),
    "number_sorting": ("answer", re.compile(r"[-\d.,'\"\[\]\s]*")),
    "simple_integration": ("integrand", re.compile(r"[a-zA-Z0-9+\-*/().\s]*")),
    "intermediate_integration": ("integrand", re.compile(r"[a-zA-Z0-9+\-*/().\s]*")),
}
"""Tasks whose scorers evaluate a part of the reference: its name, and the form that it must have."""


class Entry(TypedDict):
    """A reasoning-gym entry, as far as scorers read it."""

    answer: str | None
    """None for tasks that are judged by their metadata alone."""
    metadata: NotRequired[dict[str, Any]]
    """Its keys depend on the task."""


Scorer = Callable[[str, Entry], float]


def task_of(kind: str) -> str:
    """NAME of reasoning_gym:NAME. Raises InputError for a task that reasoning-gym does not have."""
    name = kind.removeprefix(PREFIX)
    if not kind.startswith(PREFIX) or (name not in _declared() and name not in _datasets()):
        raise InputError(
            f"answer kind {kind!r}: reasoning-gym has no task {name!r}; see reasoning_gym.factory.DATASETS"
        )
    return name


def read_entry(gold: str) -> Entry:
    """The entry for the scorer: a JSON object with "answer" (and "metadata"), or the text as the answer."""
    if gold.lstrip().startswith("{"):
        try:
            entry = json.loads(gold)
        except (json.JSONDecodeError, RecursionError):
            entry = None  # The answers of some tasks begin with a brace.
        if isinstance(entry, dict) and "answer" in entry:
            return cast(Entry, entry)
    return {"answer": gold}


def score(answer: str, gold: str, kind: str) -> bool:
    """True if the task's scorer gives `answer` full credit.

    Raises InputError for an unknown task and VerifierError for a reference that the scorer cannot use.
    """
    name = task_of(kind)
    problem = reference_problem(gold, kind)
    if problem:
        raise VerifierError(problem)
    return _full_credit(name, answer, read_entry(gold))


@lru_cache(maxsize=8192)
def reference_problem(gold: str, kind: str) -> str | None:
    """Why the task's scorer cannot use `gold`, which it must give full credit; None if it can."""
    name = task_of(kind)
    entry = read_entry(gold)
    if entry["answer"] is None:
        return None if entry.get("metadata") else f"{kind}: a reference without answer and without metadata"
    try:
        accepted = _full_credit(name, str(entry["answer"]).strip(), entry)
    except (KeyError, TypeError, ValueError) as e:
        accepted, cause = False, f" ({type(e).__name__}: {e})"
    else:
        cause = ""
    if accepted:
        return None
    return (
        f"{kind}: the task's own scorer does not accept the reference{cause}; where it reads metadata, give "
        'the reference as JSON {"answer": ..., "metadata": {...}}'
    )


def _full_credit(name: str, answer: str, entry: Entry) -> bool:
    if name in _EVALUATED_FOR_PARTIAL_CREDIT:
        accepted = entry["metadata"]["valid_answers"] if name == "n_queens" else [entry["answer"]]
        return answer in [str(reference).strip() for reference in accepted]
    if name in _EVALUATED_REFERENCE:
        key, allowed = _EVALUATED_REFERENCE[name]
        if not allowed.fullmatch(str(entry["answer"] if key == "answer" else entry["metadata"][key])):
            raise ValueError(f"{key} is not as the task writes it")
    if name in ("arc_agi", "rearc"):  # Their scorers compare tuples, which JSON turned into lists.
        output = tuple(tuple(row) for row in entry["metadata"]["output"])
        entry = {**entry, "metadata": entry["metadata"] | {"output": output}}
    if name in _PARSED_AS_EXPRESSION and not is_plain_expression(answer, name):
        return False
    return _scorer(name)(answer, entry) >= 1.0


def is_plain_expression(answer: str, name: str) -> bool:
    """True if `answer` is plain arithmetic, safe for sympy.parse_expr, with the functions of task `name`."""
    words = set(re.findall(r"[A-Za-z]{2,}", answer))
    return (
        len(answer) <= _MAX_EXPRESSION
        and _EXPRESSION.fullmatch(answer) is not None
        and words <= _PARSED_AS_EXPRESSION[name]
        and _TOWER.search(answer) is None
    )


def load() -> None:
    """Import reasoning-gym, so that the import does not count as time of the first answer."""
    _datasets()


@lru_cache(maxsize=1)
def _declared() -> frozenset[str]:
    """The tasks that reasoning-gym's files declare, for whoever needs their names alone: its import takes
    seconds."""
    spec = find_spec("reasoning_gym")
    folder = Path(str(spec.origin)).parent if spec else Path()
    texts = (path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    return frozenset(name for text in texts for name in _DECLARATION.findall(text))


@lru_cache(maxsize=1)
def _datasets() -> dict[str, Any]:
    # The import takes a second (numpy, sympy), and most runs need it only in the pool's workers.
    from reasoning_gym.factory import DATASETS

    return cast(dict[str, Any], DATASETS)


@lru_cache(maxsize=256)
def _scorer(name: str) -> Scorer:
    dataset, config = _datasets()[name]
    return cast(Scorer, dataset(config=config()).score_answer)
