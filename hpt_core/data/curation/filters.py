"""Rules that a prompt must pass by itself: lengths, scripts, and an answer that the verifier can compare."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from hpt_core.config import CurateConfig, PromptSource
from hpt_core.data.problems import final_number
from hpt_core.data.reading.records import SourceRow
from hpt_core.data.scripts import letter_runs, other_script
from hpt_core.verifier import extraction, gold_problem
from hpt_core.verifier.grading import grade_quickly
from hpt_core.verifier.unverifiable import unverifiable

PROSE_WORDS = 4
"""A `math` answer of as many words, without digit or formula, is prose, which no two people write alike."""


@dataclass(frozen=True)
class Filter:
    """A rule, and the reason under which a row that fails it is quarantined."""

    reason: str
    fault: Callable[[str, str], str | None]
    """(problem, answer) -> what is wrong, or None."""


NOT_EMPTY = (
    Filter("empty_problem", lambda problem, _: None if problem else "the problem is empty"),
    Filter("empty_answer", lambda _, answer: None if answer else "the answer is empty"),
)
"""The only filters for benchmarks, which are read as they are."""


def training_filters(config: CurateConfig) -> tuple[Filter, ...]:
    """The filters for problems to train on."""
    lengths = (
        Filter("problem_too_short", lambda problem, _: _too_short(problem, config.min_problem_chars)),
        Filter("problem_too_long", lambda problem, _: _too_long(problem, config.max_problem_chars)),
    )
    scripts = config.scripts
    if scripts is None:
        return NOT_EMPTY + lengths
    return (
        *NOT_EMPTY,
        *lengths,
        Filter("other_script", lambda problem, _: other_script(problem, scripts, "curate.scripts")),
    )


def _too_short(problem: str, least: int) -> str | None:
    short = len(problem) < least
    return f"{len(problem)} characters; curate.min_problem_chars is {least}" if short else None


def _too_long(problem: str, most: int) -> str | None:
    long = len(problem) > most
    return f"{len(problem)} characters; curate.max_problem_chars is {most}" if long else None


def reference_answer(row: SourceRow, source: PromptSource, kind: str) -> tuple[str, str | None]:
    """The row's answer as a reference of `kind`, and why the verifier could not compare with it, or None.

    The verifier must accept a reference, in a box, as the answer to its own problem.
    """
    answer = row.values["answer"].strip()
    if kind == "gsm8k":
        number = final_number(answer)
        if number is None:
            missing = unverifiable(answer, kind)
            return answer, missing or "the last line is no '#### number', 'A: number' or number"
        answer = number
    fault = gold_problem(answer, kind)
    if fault and source.reasoning_gym:
        return _with_metadata(row, kind)
    return answer, fault or _not_accepted(answer, kind)


def _not_accepted(answer: str, kind: str) -> str | None:
    if kind.startswith("reasoning_gym:"):
        return None  # gold_problem has run the task's scorer on it.
    if kind == "math" and _is_prose(answer):
        return f"{answer[:60]!r} is prose, which the verifier cannot compare"
    stated = extraction.reference_answer(answer, kind)
    verdict = grade_quickly(f"\\boxed{{{stated}}}", answer, kind)
    if verdict is None or verdict.correct:
        return None
    return f"the verifier takes {answer[:60]!r} for no answer to itself; it reads {verdict.extracted!r}"


def _is_prose(answer: str) -> bool:
    words = [word for word in letter_runs(answer) if len(word) > 1]
    return len(words) >= PROSE_WORDS and not any(c.isdigit() or c in "\\$=<>+^" for c in answer)


def _with_metadata(row: SourceRow, kind: str) -> tuple[str, str | None]:
    """The reference as JSON, for tasks whose scorer reads more than the answer, and what is wrong with it."""
    try:
        entry = {"answer": row.record["answer"], "metadata": row.record["metadata"]}
        gold = json.dumps(entry, sort_keys=True)
    except (TypeError, ValueError) as error:
        return "", f"its metadata does not fit into JSON ({error}); choose another task"
    return gold, gold_problem(gold, kind)
