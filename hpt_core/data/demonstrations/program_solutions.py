"""Step-by-step solutions that code writes from the text of the problem alone.

They are terse because the embedded policy reads characters: each line is one small step.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hpt_core.types import Prompt

AUTHOR = "hpt_core.data.worked"
"""The author in the tables, which keep the name under which these solutions were first published."""

_SUM = re.compile(r"(-?\d+(?: [+-] -?\d+)*) =\s*$")
_TERM = re.compile(r"([+-]) (-?\d+)")
_WORD = re.compile(r"[Ss]pell this word backward.*: (\w+)\s*$")


def chain_sum(problem: str) -> str | None:
    """One line for each operation, left to right: "23 + 5 = 28", "28 - 7 = 21", then the box."""
    match = _SUM.search(problem)
    if match is None:
        return None
    first, _, operations = match[1].partition(" ")
    total, lines = int(first), []
    for sign, term in _TERM.findall(operations):
        value = total + int(term) if sign == "+" else total - int(term)
        lines.append(f"{total} {sign} {term} = {value}")
        total = value
    return "\n".join([*lines, f"\\boxed{{{total}}}"])


def spell_backward(problem: str) -> str | None:
    """One line with the letters apart, one with them in reverse, then the box: "s t o p", "p o t s"."""
    match = _WORD.search(problem)
    if match is None:
        return None
    word = match[1]
    return "\n".join([" ".join(word), " ".join(reversed(word)), f"\\boxed{{{word[::-1]}}}"])


WRITERS: dict[str, Callable[[str], str | None]] = {
    "reasoning_gym:chain_sum": chain_sum,
    "reasoning_gym:spell_backward": spell_backward,
}
"""Answer kind -> function that writes a solution from the problem's text."""


def program_solution(prompt: Prompt) -> str | None:
    """A solution of `prompt`; None if no writer knows its task, or if the writer cannot read its text."""
    writer = WRITERS.get(prompt.answer_kind)
    return writer(prompt.problem) if writer else None
