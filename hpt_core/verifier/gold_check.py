"""Whether the verifier accepts the reference answers of a data set, for `hpt verify --gold-check`.

`hpt_core.data.reading.gold_answers` reads them from files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hpt_core.protocols import Verifier
from hpt_core.types import Gold, Verdict
from hpt_core.verifier import installed
from hpt_core.verifier.extraction import reference_answer
from hpt_core.verifier.worker import Item


@dataclass(frozen=True)
class Refusal:
    """A form of a reference answer that the verifier does not accept, and why."""

    gold: Gold
    form: str
    extracted: str | None
    reason: str


def refusals(golds: Sequence[Gold], verifier: Verifier) -> list[Refusal]:
    """Judge each answer alone, in a box and, if there is one, in its solution; return what is refused."""
    items = [(gold, form, item) for gold in golds for form, item in _items(gold)]
    verdicts = verifier.verify([item for _, _, item in items])
    return [
        Refusal(gold, form, verdict.extracted, _reason(verdict))
        for (gold, form, _), verdict in zip(items, verdicts, strict=True)
        if not verdict.correct
    ]


def _items(gold: Gold) -> Iterator[tuple[str, Item]]:
    answer = _final(gold)
    # Reasoning-gym has answers of several lines, which need a mark of where they begin.
    yield "alone", (f"<answer>{answer}</answer>" if "\n" in answer else answer, gold.answer, gold.kind)
    if not installed.has(gold.kind):  # The function of a package has conventions of its own.
        # Some data sets store the answer with its box, which must not be boxed twice.
        boxed = answer if "\\boxed" in answer else f"\\boxed{{{answer}}}"
        yield "boxed", (f"So the answer is {boxed}.", gold.answer, gold.kind)
    if gold.solution:
        yield "in its solution", (gold.solution, gold.answer, gold.kind)


def _final(gold: Gold) -> str:
    """The answer in a reference: in a solution, in a reasoning-gym entry, or the whole."""
    if gold.kind == "gsm8k":
        return gold.answer.rpartition("####")[2].strip()
    if gold.kind.startswith("reasoning_gym:") and gold.answer.startswith("{"):
        return str(json.loads(gold.answer)["answer"])
    return reference_answer(gold.answer, gold.kind) if gold.kind == "math" else gold.answer


def _reason(verdict: Verdict) -> str:
    if verdict.error is not None:
        return verdict.error
    return "no answer found" if verdict.extracted is None else "found unequal to the reference"
