"""Which field of the rows holds the reference answer, and how answers to such problems are verified."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from hpt_core.data.inspection import contents
from hpt_core.data.inspection.fields import Field
from hpt_core.data.inspection.found import Found
from hpt_core.data.inspection.names import weight
from hpt_core.data.inspection.response import Response
from hpt_core.data.problems import GSM8K_MARKER
from hpt_core.verifier.unverifiable import unverifiable

_LEAST = 1.0
_LAST_LINE = re.compile(GSM8K_MARKER + r"\S")


def find_answer(
    fields: Sequence[Field], responses: Sequence[Response], behind: Collection[str]
) -> Found | None:
    """The reference answer of each row; None where no field has one.

    A short value in which the responses end is their answer. Where no column is short, a solution that states
    its answer is the reference, unless a model may have written it: that would make its mistakes the truth.

    behind: the paths of the fields that come after the problem, where most data sets have the answer.
    """
    texts = [response.column for response in responses]
    scored = [
        (_score(field, texts) + 0.5 * (field.path in behind), -place, field)
        for place, field in enumerate(fields)
    ]
    best = max(scored, key=lambda each: each[:2], default=None)
    if best is not None and best[0] >= _LEAST:
        several = any(isinstance(value, list) and len(value) > 1 for value in best[2].present)
        return Found(best[2], {"read": best[2].path, "join": ", "} if several else best[2].path)
    for response in responses:
        human = not (response.by_model or response.likely_model)
        if human and contents.share(response.column.texts, contents.states_answer) >= contents.MOST:
            return Found(response.column, response.column.path)
    return None if responses else _yes_or_no(fields)


def _yes_or_no(fields: Sequence[Field]) -> Found | None:
    """An answer that is true or false, as the words with which a response states it."""
    for field in fields:
        if contents.mostly(field, lambda value: isinstance(value, bool)) and weight(field.name, "answer") > 0:
            stated = tuple(None if value is None else "Yes" if value else "No" for value in field.values)
            return Found(
                Field(field.path, stated), {"read": field.path, "map": {"true": "Yes", "false": "No"}}
            )
    return None


def _score(field: Field, responses: Sequence[Field]) -> float:
    if (
        not field.present
        or contents.share(field.present, contents.is_short) < 0.6
        or contents.is_identifier(field)
        or contents.mostly(field, lambda value: isinstance(value, bool))
    ):
        return -10.0
    ends = max((agreement(response, field) for response in responses), default=0.0)
    # Responses that end in other answers than this field's show that it is none, unless its name says so.
    contradicted = bool(responses) and ends < 0.2 and weight(field.name, "answer") <= 0
    shares = contents.mostly(field, lambda value: isinstance(value, float) and 0 <= value <= 1)
    return (
        weight(field.name, "answer")
        + 3.0 * ends
        + 1.0 * contents.mostly(field, lambda value: isinstance(value, str | list))
        - 2.0 * contradicted
        + 0.5 * contents.mostly(field, contents.is_formula)
        + 0.3 * contents.mostly(field, contents.is_number)
        + 0.5 * contents.mostly(field, contents.is_letter)
        - 2.0 * contents.is_category(field) * (not contents.mostly(field, contents.is_letter))
        - 2.0 * (contents.is_constant(field) and ends < 0.5)
        - 1.0 * shares
    )


def agreement(response: Field, answer: Field) -> float:
    """The share of rows in which the response ends in the answer."""
    pairs = [
        (text, value)
        for text, value in zip(response.values, answer.values, strict=True)
        if isinstance(text, str) and value is not None
    ]
    return contents.share(pairs, lambda pair: contents.concludes(*pair))


def kind_of(answer: Found, problem: Found, responses: Sequence[Field]) -> str:
    """The kind under which the verifier compares such answers."""
    values = [value[0] if isinstance(value, list) else value for value in answer.column.present]
    # What stands for a missing answer or a proof says nothing of the others: such rows are quarantined.
    values = [value for value in values if not unverifiable(str(value), "math")] or ["0"]
    if contents.share(values, contents.is_letter) >= contents.MOST:
        return "choice"
    if contents.share(values, _hashed) >= contents.MOST:
        return "gsm8k"
    numbers = contents.share(values, contents.is_number) >= 0.95
    asked = "####" in str(problem.entry)
    if numbers and (asked or any(contents.share(each.texts, _hashed) >= contents.MOST for each in responses)):
        return "gsm8k"
    formulas = contents.share(
        values, lambda value: contents.is_formula(value) or contents.states_answer(value)
    )
    return "math" if formulas >= 0.5 else "exact"


def _hashed(value: Any) -> bool:
    """Whether a text ends as GSM8K's solutions do, in "#### 72" or "A: 72"."""
    lines = value.strip().splitlines() if isinstance(value, str) else []
    return len(lines) > 1 and bool(_LAST_LINE.match(lines[-1].strip()))
