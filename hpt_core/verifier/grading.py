"""Grading of one response against one reference, in this process."""

from __future__ import annotations

from collections.abc import Callable

from hpt_core.errors import InputError, VerifierError
from hpt_core.types import Verdict
from hpt_core.verifier import answers, reasoning, symbolic
from hpt_core.verifier.extraction import extract_answer

KINDS = ("math", "gsm8k", "choice", "exact", "reasoning_gym:NAME")


def grade(response: str, gold: str, kind: str) -> Verdict:
    """Judge `response` against `gold` under the conventions of `kind` (one of KINDS).

    A pure function without a time limit. Since `math` and some reasoning-gym scorers may not return,
    responses of a policy go through `VerifierPool`. A response that states no answer is wrong. Raises
    InputError for an unknown kind and VerifierError for a reference that cannot be read.
    """
    verdict = grade_quickly(response, gold, kind)
    if verdict is not None:
        return verdict
    extracted = extract_answer(response, kind)
    assert extracted is not None, "grade_quickly decides a response without an answer"
    if kind == "math":
        return Verdict(symbolic.equal(extracted, gold), extracted)
    return Verdict(reasoning.score(extracted, gold, kind), extracted)


def grade_quickly(response: str, gold: str, kind: str) -> Verdict | None:
    """The verdict if string comparison decides it, in time linear in the inputs; else None.

    Raises as `grade` does, except for an unknown reasoning-gym task, which only an import can detect.
    """
    _check_form(kind)
    problem = _quick_gold_problem(gold, kind)
    if problem:
        raise VerifierError(problem)
    extracted = extract_answer(response, kind)
    if extracted is None:
        return Verdict(False, None)
    correct = _QUICK.get(kind, _equals_reference)(extracted, gold)
    return None if correct is None else Verdict(correct, extracted)


def check_kind(kind: str) -> None:
    """Raise InputError, naming the kinds, unless the verifier knows `kind`."""
    _check_form(kind)
    if kind.startswith(reasoning.PREFIX):
        reasoning.task_of(kind)


def gold_problem(gold: str, kind: str) -> str | None:
    """Why the verifier cannot read `gold` as a reference of `kind`; None if it can.

    For reasoning-gym the task's scorer must give the reference itself full credit. Raises InputError
    for an unknown kind.
    """
    _check_form(kind)
    problem = _quick_gold_problem(gold, kind)
    if problem or not kind.startswith(reasoning.PREFIX):
        return problem
    return reasoning.reference_problem(gold, kind)


def _check_form(kind: str) -> None:
    if kind not in _QUICK and not (kind.startswith(reasoning.PREFIX) and kind != reasoning.PREFIX):
        raise InputError(f"unknown answer kind {kind!r}; the kinds are {', '.join(KINDS)}")


def _quick_gold_problem(gold: str, kind: str) -> str | None:
    if not gold.strip():
        return "the reference answer is empty"
    if kind == "math":
        return symbolic.reference_problem(gold)
    if kind == "gsm8k" and _gold_number(gold) is None:
        return (
            f"no number in the reference {_abbreviated(gold)}; end it in '#### 72' or give the number alone"
        )
    if kind == "choice" and _gold_letter(gold) is None:
        return f"the reference {_abbreviated(gold)} names no choice; give one letter, A to Z"
    return None


def _gold_number(gold: str) -> object | None:
    return answers.number(extract_answer(gold, "gsm8k") or "")


def _gold_letter(gold: str) -> str | None:
    return answers.letter(extract_answer(gold, "choice") or "")


def _equals_reference(extracted: str, gold: str) -> bool | None:
    """True if the answer is the reference itself: every scorer gives it full credit (the tests check all)."""
    reference = reasoning.read_entry(gold)["answer"]
    return True if reference is not None and extracted == str(reference).strip() else None


def _same_number(extracted: str, gold: str) -> bool | None:
    return answers.number(extracted) == _gold_number(gold)


def _same_letter(extracted: str, gold: str) -> bool | None:
    return answers.letter(extracted) == _gold_letter(gold)


def _same_text(extracted: str, gold: str) -> bool | None:
    return answers.normal(extracted) == answers.normal(gold)


def _abbreviated(gold: str) -> str:
    """The reference as a message quotes it: its end, in which the answer stands."""
    return repr(gold if len(gold) <= 60 else "..." + gold[-57:])


_QUICK: dict[str, Callable[[str, str], bool | None]] = {
    "math": symbolic.quick_equal,
    "gsm8k": _same_number,
    "choice": _same_letter,
    "exact": _same_text,
}
