"""Answers to reasoning-gym tasks, judged by the task's own scorer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from hpt_core.errors import InputError, VerifierError

PREFIX = "reasoning_gym:"

_EVALUATED_FOR_PARTIAL_CREDIT = frozenset({"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"})
"""Their scorers call eval() on the answer, and only to give less than full credit. Full credit, all that
counts here, is equality with a reference, so such an answer is compared and never reaches the scorer."""

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
"""Their scorers hand the answer to sympy.parse_expr, which is eval(). The functions each may name; besides
them only numbers, one-letter names and + - * / ^ ( ) get through: no attribute, string, index or call of
anything else can be spelled."""

_EXPRESSION = re.compile(r"(?>\d+(?:\.\d+)?|\.\d+|[A-Za-z]+|[-+*/^()\s])*+")
_TOWER = re.compile(r"(?:\*\*|\^)\s*(?:\d{3,}|\(?\s*\d+\s*(?:\*\*|\^))")
"""An exponent of three digits, or one that is a power itself. Towers that are spelled another way cost
their grader's time limit instead."""
_MAX_EXPRESSION = 1000  # characters

_EVALUATED_REFERENCE = {
    "bitwise_arithmetic": ("problem", re.compile(r"[0-9a-fA-Fx()+\-*<>\s]*")),
    "number_sorting": ("answer", re.compile(r"[-\d.,'\"\[\]\s]*")),
    "simple_integration": ("integrand", re.compile(r"[a-zA-Z0-9+\-*/().\s]*")),
    "intermediate_integration": ("integrand", re.compile(r"[a-zA-Z0-9+\-*/().\s]*")),
}
"""Their scorers evaluate this part of the reference, which must look as the task writes it."""


def task_of(kind: str) -> str:
    """NAME of reasoning_gym:NAME. Raises InputError for a task that reasoning-gym does not have."""
    name = kind.removeprefix(PREFIX)
    if not kind.startswith(PREFIX) or name not in _datasets():
        raise InputError(
            f"answer kind {kind!r}: reasoning-gym has no task {name!r}; see reasoning_gym.factory.DATASETS"
        )
    return name


def read_entry(gold: str) -> dict[str, Any]:
    """The scorer's entry: a JSON object with "answer" (and "metadata" ...), or the text as the answer."""
    if gold.lstrip().startswith("{"):
        try:
            entry = json.loads(gold)
        except (json.JSONDecodeError, RecursionError):
            entry = None  # a task whose answers begin with a brace
        if isinstance(entry, dict) and "answer" in entry:
            return entry
    return {"answer": gold}


def score(answer: str, gold: str, kind: str) -> bool:
    """True if the task's scorer gives `answer` full credit.

    Raises InputError for an unknown task, VerifierError for a reference that the scorer cannot use.
    """
    name = task_of(kind)
    problem = reference_problem(gold, kind)
    if problem:
        raise VerifierError(problem)
    return _full_credit(name, answer, read_entry(gold))


@lru_cache(maxsize=8192)
def reference_problem(gold: str, kind: str) -> str | None:
    """Why the task's scorer cannot work with `gold`: it must give the reference itself full credit."""
    name = task_of(kind)
    entry = read_entry(gold)
    if entry["answer"] is None:  # a task that is judged by its metadata alone
        return None if entry.get("metadata") else f"{kind}: a reference without answer and without metadata"
    try:
        accepted = _full_credit(name, str(entry["answer"]).strip(), entry)
    except (KeyError, TypeError, ValueError) as e:
        accepted, why = False, f" ({type(e).__name__}: {e})"
    else:
        why = ""
    if accepted:
        return None
    return (
        f"{kind}: the task's own scorer does not accept the reference{why}; where it reads metadata, give "
        'the reference as JSON {"answer": ..., "metadata": {...}}'
    )


def _full_credit(name: str, answer: str, entry: dict[str, Any]) -> bool:
    if name in _EVALUATED_FOR_PARTIAL_CREDIT:
        accepted = entry["metadata"]["valid_answers"] if name == "n_queens" else [entry["answer"]]
        return answer in [str(reference).strip() for reference in accepted]
    if name in _EVALUATED_REFERENCE:
        key, allowed = _EVALUATED_REFERENCE[name]
        if not allowed.fullmatch(str(entry[key] if key == "answer" else entry["metadata"][key])):
            raise ValueError(f"{key} is not as the task writes it")
    if name in ("arc_agi", "rearc"):  # compared as tuples, which JSON turns into lists
        output = tuple(tuple(row) for row in entry["metadata"]["output"])
        entry = entry | {"metadata": entry["metadata"] | {"output": output}}
    if name in _PARSED_AS_EXPRESSION and not is_plain_expression(answer, name):
        return False
    return _scorer(name)(answer, entry) >= 1.0


def is_plain_expression(answer: str, name: str) -> bool:
    """True if `answer` is arithmetic that sympy.parse_expr may see for task `name`."""
    words = set(re.findall(r"[A-Za-z]{2,}", answer))
    return (
        len(answer) <= _MAX_EXPRESSION
        and _EXPRESSION.fullmatch(answer) is not None
        and words <= _PARSED_AS_EXPRESSION[name]
        and _TOWER.search(answer) is None
    )


def load() -> None:
    """Do the imports, which the first call would otherwise do."""
    _datasets()


@lru_cache(maxsize=1)
def _datasets() -> dict[str, Any]:
    # A second of imports (numpy, sympy), which most runs need only in the pool's workers.
    from reasoning_gym.factory import DATASETS

    return cast(dict[str, Any], DATASETS)


@lru_cache(maxsize=256)
def _scorer(name: str) -> Callable[[str, dict[str, Any]], float]:
    dataset, config = _datasets()[name]
    return cast(Callable[[str, dict[str, Any]], float], dataset(config=config()).score_answer)
