"""What a prompt must be, one named rule after the other; a rule says what is wrong, or nothing."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from hpt_core.config import CurateConfig, PromptSource
from hpt_core.data.problems import final_number
from hpt_core.data.rows import Row
from hpt_core.verifier import gold_problem
from hpt_core.verifier.grading import grade_quickly

SCRIPT_SHARE = 0.9
"""Of the letters of a problem that are in the scripts asked for: names and symbols come from others."""
PROSE = 4
"""Words from which a `math` answer without digit or formula is prose, which no two people write alike."""

_UNICODE_NAMES = {"Han": "CJK"}
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


def other_script(text: str, scripts: Sequence[str], key: str) -> str | None:
    """Why `text` is not in `scripts`, which the parameter `key` names."""
    letters = "".join(_LETTERS.findall(text))
    if letters.isascii() and "Latin" in scripts:
        return None
    found = [script for letter in letters if (script := script_of(letter))]
    share = sum(script in scripts for script in found) / len(found) if found else 1.0
    if share >= SCRIPT_SHARE:
        return None
    return f"{share:.0%} of its letters are in {key} {list(scripts)}; {SCRIPT_SHARE:.0%} have to be"


@lru_cache(maxsize=65536)
def script_of(letter: str) -> str | None:
    """The script of a letter, from its Unicode name; None for signs that are letters of no script."""
    name = unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "").split(" ", 1)[0]
    if name in ("", "MODIFIER", "MATHEMATICAL", "FEMININE", "MASCULINE", "MICRO"):
        return None
    return "Han" if name == _UNICODE_NAMES["Han"] else name.capitalize()


def reference(row: Row, source: PromptSource, kind: str) -> tuple[str, str | None]:
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


def _with_metadata(row: Row, kind: str) -> tuple[str, str | None]:
    """The reference as JSON, for tasks whose scorer reads more than the answer; and its trouble."""
    try:
        entry = {"answer": row.record["answer"], "metadata": row.record["metadata"]}
        gold = json.dumps(entry, sort_keys=True)
    except (TypeError, ValueError) as error:
        return "", f"its metadata does not fit into JSON ({error}); choose another task"
    return gold, gold_problem(gold, kind)
