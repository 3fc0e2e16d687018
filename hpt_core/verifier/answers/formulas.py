"""The kind math: what its references are, and equality by `hpt_core.verifier.math`."""

from __future__ import annotations

import re

from hpt_core.verifier import math
from hpt_core.verifier.extraction import reference_answer

_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)


def reference(gold: str) -> str:
    """The answer in a reference, which may be a worked solution that ends in a box."""
    return reference_answer(gold, "math")


def reference_problem(gold: str) -> str | None:
    """Why `gold` cannot be read as a mathematical answer; None if it can. Does not parse it."""
    answer = reference(gold)
    if len(answer) > math.MAX_LENGTH:
        return f"the reference answer is longer than {math.MAX_LENGTH} characters"
    depth = 0
    for token in _BRACES.findall(answer):
        depth += (token == "{") - (token == "}")
        if depth < 0:
            break
    return "the reference answer has unbalanced braces" if depth else None


def quick_equal(answer: str, gold: str) -> bool | None:
    """Equality of answers that need no computation of values; None if it is undecided."""
    return math.quick_equal(answer, reference(gold))


def equal(answer: str, gold: str) -> bool:
    """Whether the values of `answer` and of the reference are the same. May take for ever."""
    return math.equal(answer, reference(gold))
