"""A grader that is slow for one answer. It is a module, so that the grading processes can import it."""

from __future__ import annotations

import time

from hpt_core.types import Verdict
from hpt_core.verifier.grading import grade

SLOW_GOLD = "6"
SECONDS = 4.0


def grade_slowly(response: str, gold: str, kind: str) -> Verdict:
    if gold == SLOW_GOLD:
        time.sleep(SECONDS)
    return grade(response, gold, kind)
