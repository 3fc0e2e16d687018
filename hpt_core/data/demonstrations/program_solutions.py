"""Step-by-step solutions that code writes from the text of the problem alone.

They are terse because the embedded policy reads characters: each line is one small step. Studies have them in
other wordings, and with a slip.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import cycle
from typing import NamedTuple

from hpt_core.config.data import Wording
from hpt_core.types import Prompt

AUTHOR = "hpt_core.data.worked"
"""The author in the tables, which keep the name under which these solutions were first published."""

_SUM = re.compile(r"(-?\d+(?: [+-] -?\d+)*) =\s*$")
_TERM = re.compile(r"([+-]) (-?\d+)")
_WORD = re.compile(r"[Ss]pell this word backward.*: (\w+)\s*$")


class Steps(NamedTuple):
    """A solution in the plain wording."""

    lines: list[str]
    answer: str


def chain_sum(problem: str, slip: int | None = None) -> Steps | None:
    """One line for each operation, left to right: "23 + 5 = 28", "28 - 7 = 21".

    A slip makes one of the results too large by one.
    """
    match = _SUM.search(problem)
    if match is None:
        return None
    first, _, operations = match[1].partition(" ")
    total, lines, terms = int(first), list[str](), _TERM.findall(operations)
    for number, (sign, term) in enumerate(terms):
        value = total + int(term) if sign == "+" else total - int(term)
        value += slip is not None and number == slip % len(terms)
        lines.append(f"{total} {sign} {term} = {value}")
        total = value
    return Steps(lines, str(total)) if slip is None or terms else None


def spell_backward(problem: str, slip: int | None = None) -> Steps | None:
    """One line with the letters apart, one with them in reverse: "s t o p", "p o t s".

    A slip exchanges two neighbours of the reverse that differ; a word without such neighbours has none.
    """
    match = _WORD.search(problem)
    if match is None:
        return None
    word = match[1]
    answer = word[::-1]
    if slip is not None:
        places = [i for i in range(len(answer) - 1) if answer[i] != answer[i + 1]]
        if not places:
            return None
        i = places[slip % len(places)]
        answer = answer[:i] + answer[i + 1] + answer[i] + answer[i + 2 :]
    return Steps([" ".join(word), " ".join(answer)], answer)


class Writer(NamedTuple):
    """How the solutions of a task are written."""

    steps: Callable[[str, int | None], Steps | None]
    """(problem, slip) -> the solution; None where it cannot read the problem."""
    mark: tuple[str, str]
    """A character of the plain lines, and what stands in its place in the other wordings."""
    labels: tuple[str, ...]
    """What the lines begin with in the labelled wording, in turn."""


WRITERS: dict[str, Writer] = {
    "reasoning_gym:chain_sum": Writer(chain_sum, ("=", ":"), ("step: ",)),
    "reasoning_gym:spell_backward": Writer(spell_backward, (" ", "-"), ("in: ", "out: ")),
}
"""Answer kind -> how its solutions are written."""


def program_solution(prompt: Prompt, wording: Wording = "plain", slip: int | None = None) -> str | None:
    """A solution of `prompt`; None if no writer knows its task, or if the writer cannot read its text.

    slip: a number that chooses the step that is wrong, for a wrong solution; None: no step is.
    """
    writer = WRITERS.get(prompt.answer_kind)
    steps = writer.steps(prompt.problem, slip) if writer else None
    if writer is None or steps is None:
        return None
    lines = steps.lines
    if wording != "plain":
        lines = [line.replace(*writer.mark) for line in lines]
    if wording == "labelled":
        lines = [label + line for label, line in zip(cycle(writer.labels), lines, strict=False)]
    return "\n".join([*lines, f"\\boxed{{{steps.answer}}}"])
