"""The rows of the tests of this folder, and how they are judged."""

from __future__ import annotations

from hpt_core.verifier import grade

Rows = list[tuple[str, list[str], list[str]]]
"""(reference, right responses, wrong responses)"""


def wrongly_judged(rows: Rows, kind: str) -> list[tuple[str, str, bool]]:
    """(reference, response, what the verdict should be) of each response whose verdict is another one."""
    return [
        (gold, response, expected)
        for gold, right, wrong in rows
        for responses, expected in ((right, True), (wrong, False))
        for response in responses
        if grade(response, gold, kind).correct is not expected
    ]
