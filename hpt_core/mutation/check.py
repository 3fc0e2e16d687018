"""The error rates of the verifier on reference answers, for `hpt verify --mutation-check` and for curate.

Each answer is changed into wrong ones, of which the verifier should accept none, and rewritten in ways that
change nothing, of which it should reject none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import sqrt

from hpt_core.mutation.mutants import choice_mutants, math_mutants, number_mutants, text_mutants
from hpt_core.mutation.rewrites import choice_rewrites, math_rewrites, number_rewrites, text_rewrites
from hpt_core.protocols import Verifier
from hpt_core.types import Gold, Verdict
from hpt_core.verifier.answers import formulas
from hpt_core.verifier.extraction import extract_answer
from hpt_core.verifier.worker import Item

CHECKED_KINDS = ("math", "gsm8k", "choice", "exact")
"""Kinds whose answers can be changed. A reasoning-gym task may have several right answers, and what the
function of a package accepts is its own."""
LONGEST = 400
"""Characters of an answer that is changed. A longer one is a text or a solution, which no rule is sure of."""
REFUSED = "refused as it stands (see --gold-check)"
"""Why an answer of a checked kind has no variants."""


@dataclass(frozen=True)
class Variant:
    """A reference answer with one change."""

    gold: Gold
    is_mutant: bool
    change: str
    answer: str

    @property
    def item(self) -> Item:
        """A response that states the answer, the reference and its kind."""
        kind = self.gold.kind
        if kind == "math":
            response = f"So the answer is \\boxed{{{self.answer}}}."
        else:
            response = f"#### {self.answer}" if kind == "gsm8k" else f"Answer: {self.answer}"
        return response, self.gold.answer, kind


@dataclass(frozen=True)
class Fault:
    """A wrong answer that was accepted, a right one that was rejected, or one without a verdict."""

    variant: Variant
    verdict: Verdict


@dataclass
class Counts:
    """Variants of one kind: mutants or rewrites."""

    made: Counter[str] = field(default_factory=Counter)
    """Change -> variants."""
    wrong: Counter[str] = field(default_factory=Counter)
    """Change -> accepted mutants, or rejected rewrites."""
    unjudged: Counter[str] = field(default_factory=Counter)
    """Change -> variants without a verdict."""

    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the rate of wrong verdicts (E. B. Wilson, JASA 22, 1927)."""
        judged = self.made.total() - self.unjudged.total()
        if not judged:
            return 0.0, 1.0
        z, share = 1.959964, self.wrong.total() / judged
        centre = share + z * z / (2 * judged)
        spread = z * sqrt(share * (1 - share) / judged + (z / (2 * judged)) ** 2)
        scale = 1 + z * z / judged
        return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


@dataclass
class ErrorRates:
    """What the verifier says of the variants of some reference answers."""

    answers: int = 0
    unchecked: Counter[str] = field(default_factory=Counter)
    """Why -> answers without variants: their kind has none, or the verifier refuses the answer itself."""
    mutants: Counts = field(default_factory=Counts)
    rewrites: Counts = field(default_factory=Counts)
    faults: list[Fault] = field(default_factory=list)


def error_rates(golds: Iterable[Gold], verifier: Verifier) -> ErrorRates:
    """Judge the mutants and the rewrites of each answer that the verifier accepts as it stands."""
    rates = ErrorRates()
    checked: list[Gold] = []
    for gold in golds:
        rates.answers += 1
        if gold.kind not in CHECKED_KINDS:
            rates.unchecked[f"of kind {gold.kind}"] += 1
        elif len(final(gold)) > LONGEST:
            rates.unchecked[f"longer than {LONGEST} characters"] += 1
        else:
            checked.append(gold)
    verdicts = verifier.verify([Variant(gold, False, "", final(gold)).item for gold in checked])
    accepted = [gold for gold, verdict in zip(checked, verdicts, strict=True) if verdict.correct]
    if len(accepted) < len(checked):
        rates.unchecked[REFUSED] = len(checked) - len(accepted)
    variants = [variant for gold in accepted for variant in variants_of(gold)]
    for variant, verdict in zip(variants, verifier.verify([v.item for v in variants]), strict=True):
        counts = rates.mutants if variant.is_mutant else rates.rewrites
        counts.made[variant.change] += 1
        if verdict.error is not None:
            counts.unjudged[variant.change] += 1
        elif verdict.correct == variant.is_mutant:
            counts.wrong[variant.change] += 1
        else:
            continue
        rates.faults.append(Fault(variant, verdict))
    return rates


def variants_of(gold: Gold) -> Iterator[Variant]:
    """The mutants of an answer, then its rewrites."""
    answer, kind = final(gold), gold.kind
    mutants = _MUTANTS[kind](answer)
    rewrites = _REWRITES[kind](answer)
    yield from (Variant(gold, True, change, text) for change, text in mutants)
    yield from (Variant(gold, False, change, text) for change, text in rewrites)


def final(gold: Gold) -> str:
    """The answer that a reference states, which may be a whole solution."""
    if gold.kind == "math":
        return formulas.reference(gold.answer)
    if gold.kind == "exact":
        return gold.answer
    return extract_answer(gold.answer, gold.kind) or gold.answer


def _choice(answer: str) -> str:
    return answer.strip(" ().:*").upper()


_MUTANTS = {
    "math": math_mutants,
    "gsm8k": number_mutants,
    "choice": lambda answer: choice_mutants(_choice(answer)),
    "exact": text_mutants,
}
_REWRITES = {
    "math": math_rewrites,
    "gsm8k": number_rewrites,
    "choice": lambda answer: choice_rewrites(_choice(answer)),
    "exact": text_rewrites,
}
