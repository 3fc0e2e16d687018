"""What a prompt must be, one named rule after the other; a rule says what is wrong, or nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from hpt_core.config import CurateConfig, PromptSource
from hpt_core.data.problems import final_number
from hpt_core.data.reading.records import SourceRow
from hpt_core.data.scripts import other_script
from hpt_core.verifier import gold_problem
from hpt_core.verifier.grading import grade_quickly

PROSE = 4
"""Words from which a `math` answer without digit or formula is prose, which no two people write alike."""

_LETTERS = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Filter:
    """A rule, and the reason under which what fails it is quarantined."""

    reason: str
    trouble: Callable[[str, str], str | None]
    """(problem, answer) -> what is wrong."""


FILLED_IN = (
    Filter("empty_problem", lambda problem, _: None if problem else "the problem is empty"),
    Filter("empty_answer", lambda _, answer: None if answer else "the answer is empty"),
)
"""For problems to evaluate on, which are taken as they are."""


def training_filters(config: CurateConfig) -> tuple[Filter, ...]:
    """For problems to train on."""
    lengths = (
        Filter("problem_too_short", lambda problem, _: _too_short(problem, config.min_problem_chars)),
        Filter("problem_too_long", lambda problem, _: _too_long(problem, config.max_problem_chars)),
    )
    scripts = config.scripts
    if scripts is None:
        return FILLED_IN + lengths
    return (
        *FILLED_IN,
        *lengths,
        Filter("other_script", lambda problem, _: other_script(problem, scripts, "curate.scripts")),
    )


def _too_short(problem: str, least: int) -> str | None:
    short = len(problem) < least
    return f"{len(problem)} characters; curate.min_problem_chars is {least}" if short else None


def _too_long(problem: str, most: int) -> str | None:
    long = len(problem) > most
    return f"{len(problem)} characters; curate.max_problem_chars is {most}" if long else None


def reference(row: SourceRow, source: PromptSource, kind: str) -> tuple[str, str | None]:
    """The answer as a reference of `kind`, and why the verifier could not judge by it.

    A reference must itself be accepted, boxed, as the answer to its problem.
    """
    answer = row.values["answer"].strip()
    if kind == "gsm8k":
        number = final_number(answer)
        if number is None:
            return answer, "the last line is no '#### number', 'A: number' or number"
        answer = number
    trouble = gold_problem(answer, kind)
    if trouble and source.reasoning_gym:
        return _with_metadata(row, kind)
    return answer, trouble or _unverifiable(answer, kind)


def _unverifiable(answer: str, kind: str) -> str | None:
    if kind.startswith("reasoning_gym:"):
        return None  # gold_problem has asked the scorer
    if kind == "math" and _is_prose(answer):
        return f"{answer[:60]!r} is prose, which the verifier cannot compare"
    boxed = answer if "\\boxed" in answer else f"\\boxed{{{answer}}}"
    verdict = grade_quickly(boxed, answer, kind)
    if verdict is None or verdict.correct:
        return None
    return f"the verifier takes {answer[:60]!r} for no answer to itself; it reads {verdict.extracted!r}"


def _is_prose(answer: str) -> bool:
    words = [word for word in _LETTERS.findall(answer) if len(word) > 1]
    return len(words) >= PROSE and not any(c.isdigit() or c in "\\$=<>+^" for c in answer)


def _with_metadata(row: SourceRow, kind: str) -> tuple[str, str | None]:
    """The reference as JSON, for tasks whose scorer reads more than the answer; and its trouble."""
    try:
        entry = {"answer": row.record["answer"], "metadata": row.record["metadata"]}
        gold = json.dumps(entry, sort_keys=True)
    except (TypeError, ValueError) as error:
        return "", f"its metadata does not fit into JSON ({error}); choose another task"
    return gold, gold_problem(gold, kind)
