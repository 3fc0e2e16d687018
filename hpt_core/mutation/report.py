"""Error rates of the verifier as they stand in JSON files."""

from __future__ import annotations

from typing import TypedDict

from hpt_core.mutation.check import Counts, ErrorRates

EXAMPLES = 20
"""Faults of a source that its entry shows."""


class CountsEntry(TypedDict):
    """Mutants or rewrites, by change, and the rate of wrong verdicts among those judged."""

    made: dict[str, int]
    wrong: dict[str, int]
    unjudged: dict[str, int]
    ci95: list[float]


class FaultEntry(TypedDict):
    """A wrong answer that was accepted, a right one that was rejected, or one without a verdict."""

    where: str
    reference: str
    change: str
    answer: str
    verdict: str


class RatesEntry(TypedDict):
    """What the verifier says of the variants of the reference answers of a source."""

    answers: int
    unchecked: dict[str, int]
    mutants: CountsEntry
    rewrites: CountsEntry
    examples: list[FaultEntry]


def entry(rates: ErrorRates) -> RatesEntry:
    """The rates with their first EXAMPLES faults."""
    return {
        "answers": rates.answers,
        "unchecked": dict(sorted(rates.unchecked.items())),
        "mutants": _counts(rates.mutants),
        "rewrites": _counts(rates.rewrites),
        "examples": [
            {
                "where": fault.variant.gold.where,
                "reference": fault.variant.gold.answer[:200],
                "change": fault.variant.change,
                "answer": fault.variant.answer[:200],
                "verdict": fault.verdict.error or ("accepted" if fault.verdict.correct else "rejected"),
            }
            for fault in rates.faults[:EXAMPLES]
        ],
    }


def sentence(name: str, rates: RatesEntry) -> str:
    """The rates of a source in words."""
    mutants, rewrites = rates["mutants"], rates["rewrites"]
    unjudged = sum((*mutants["unjudged"].values(), *rewrites["unjudged"].values()))
    checked = rates["answers"] - sum(rates["unchecked"].values())
    text = (
        f"{name}: of the changes of {checked} reference answers, the verifier accepts {_of(mutants)} wrong "
        f"ones and rejects {_of(rewrites)} harmless ones"
    )
    return text + (f"; {unjudged} have no verdict" if unjudged else "")


def _of(counts: CountsEntry) -> str:
    return f"{sum(counts['wrong'].values())} of {sum(counts['made'].values())}"


def _counts(counts: Counts) -> CountsEntry:
    low, high = counts.interval()
    return {
        "made": dict(sorted(counts.made.items())),
        "wrong": dict(sorted(counts.wrong.items())),
        "unjudged": dict(sorted(counts.unjudged.items())),
        "ci95": [round(low, 4), round(high, 4)],
    }
