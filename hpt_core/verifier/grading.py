"""Grading of one response against one reference, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial

from hpt_core.errors import InputError, VerifierError
from hpt_core.types import Verdict
from hpt_core.verifier import answers, installed, reasoning
from hpt_core.verifier.answers import formulas
from hpt_core.verifier.extraction import extract_answer, reference_answer
from hpt_core.verifier.unverifiable import unverifiable

KINDS = ("math", "gsm8k", "choice", "exact", "reasoning_gym:NAME")
"""The built-in kinds. A package can bring others: see `installed`."""


@dataclass(frozen=True)
class Comparison:
    """A built-in kind: the answer is extracted from the response and compared with the reference."""

    reference_problem: Callable[[str], str | None]
    """Why a reference that is not empty cannot be read; None if it can. Linear in its length."""
    quick_equal: Callable[[str, str], bool | None]
    """(answer, reference) -> whether they are equal; None if only `equal` can tell. Linear in length."""
    equal: Callable[[str, str], bool] | None = None
    """The same, decided in any case. May take for ever. None where `quick_equal` always decides."""


def grade(response: str, gold: str, kind: str) -> Verdict:
    """Judge `response` against `gold` under the conventions of `kind` (one of KINDS or of a package).

    A pure function without a time limit. Since `math`, some reasoning-gym scorers and the functions of
    packages may not return, responses of a policy go through `VerifierPool`. A response that states no answer
    is wrong. Raises InputError for an unknown kind and VerifierError for a reference that cannot be read.
    """
    verdict = grade_quickly(response, gold, kind)
    if verdict is not None:
        return verdict
    comparison = _comparison(kind)
    if comparison is None:
        return installed.grade(response, gold, kind)
    extracted = extract_answer(response, kind)
    assert extracted is not None, "grade_quickly decides a response without an answer"
    assert comparison.equal is not None, "quick_equal decides where there is no other comparison"
    return Verdict(comparison.equal(extracted, gold), extracted)


def grade_quickly(response: str, gold: str, kind: str) -> Verdict | None:
    """The verdict if string comparison decides it, in time linear in the inputs; else None.

    Raises as `grade` does, except for an unknown reasoning-gym task, which only an import can detect.
    """
    comparison = _comparison(kind)
    problem = _quick_gold_problem(gold, kind, comparison)
    if problem:
        raise VerifierError(problem)
    if comparison is None:
        return None
    extracted = extract_answer(response, kind)
    if extracted is None:
        return Verdict(False, None)
    correct = comparison.quick_equal(extracted, gold)
    return None if correct is None else Verdict(correct, extracted)


def check_kind(kind: str) -> None:
    """Raise InputError unless the verifier knows `kind` and can load its function, if a package brings it."""
    if _comparison(kind) is None:
        installed.check(kind)
    elif kind.startswith(reasoning.PREFIX):
        reasoning.task_of(kind)


def installed_versions(kinds: Iterable[str]) -> dict[str, installed.Version]:
    """Kind -> package, version and hash of code, for those of `kinds` that packages bring.

    They identify the verifier beside the code of this project. Raises InputError as `check_kind` does.
    """
    brought = [kind for kind in sorted(set(kinds)) if _comparison(kind) is None]
    for kind in brought:
        installed.check(kind)
    return {kind: installed.version(kind) for kind in brought}


def gold_problem(gold: str, kind: str) -> str | None:
    """Why the verifier cannot read `gold` as a reference of `kind`; None if it can.

    For reasoning-gym the task's scorer must give the reference itself full credit. The function of a package
    is not asked. Raises InputError for an unknown kind.
    """
    problem = _quick_gold_problem(gold, kind, _comparison(kind))
    if problem or not kind.startswith(reasoning.PREFIX):
        return problem
    return reasoning.reference_problem(gold, kind)


def _comparison(kind: str) -> Comparison | None:
    """The built-in kind; None for one of a package. Raises InputError for an unknown or an ambiguous name."""
    built_in = _BUILT_IN.get(kind)
    if built_in is None and kind.startswith(reasoning.PREFIX) and kind != reasoning.PREFIX:
        built_in = _task(kind)
    if not installed.has(kind):
        if built_in is None:
            raise InputError(_unknown(kind))
        return built_in
    if built_in is not None:
        raise InputError(
            f"answer kind {kind!r} is built in, and {installed.names()[kind]} brings one of the same name; "
            f"rename that entry point of {installed.GROUP}, or uninstall the package"
        )
    return None


def _unknown(kind: str) -> str:
    brought = [f"{name} ({package})" for name, package in installed.names().items()]
    others = f"packages bring {', '.join(brought)}" if brought else "no installed package brings another"
    return f"unknown answer kind {kind!r}; the kinds are {', '.join(KINDS)}; {others} (see docs/verifier.md)"


@lru_cache(maxsize=256)
def _task(kind: str) -> Comparison:
    """The kind of a reasoning-gym task."""
    return Comparison(_readable, _equals_reference, partial(reasoning.score, kind=kind))


def _quick_gold_problem(gold: str, kind: str, comparison: Comparison | None) -> str | None:
    if not gold.strip():
        return "the reference answer is empty"
    if comparison is None:
        return None
    return unverifiable(gold, kind) or comparison.reference_problem(gold)


def _readable(gold: str) -> None:
    """Any text is a reference."""


def _number_problem(gold: str) -> str | None:
    if _gold_number(gold) is not None:
        return None
    return f"no number in the reference {_abbreviated(gold)}; end it in '#### 72' or give the number alone"


def _letter_problem(gold: str) -> str | None:
    if _gold_letter(gold) is not None:
        return None
    return f"the reference {_abbreviated(gold)} names no choice; give one letter, A to Z"


@lru_cache(maxsize=8192)
def _gold_number(gold: str) -> object | None:
    return answers.number(reference_answer(gold, "gsm8k"))


@lru_cache(maxsize=8192)
def _gold_letter(gold: str) -> str | None:
    return answers.letter(reference_answer(gold, "choice"))


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


_BUILT_IN = {
    "math": Comparison(formulas.reference_problem, formulas.quick_equal, formulas.equal),
    "gsm8k": Comparison(_number_problem, _same_number),
    "choice": Comparison(_letter_problem, _same_letter),
    "exact": Comparison(_readable, _same_text),
}
