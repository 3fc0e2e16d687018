"""The differences between policies on a benchmark, each with its verdict."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import combinations

from hpt_core.significance import PairedDifference, holm
from pipelines.report import words
from pipelines.report.comparison_file import CorrectedDifference, Differences, Gain, PairOfArms
from pipelines.report.results import BASE


def compare_policies(
    benchmark: str, policies: Collection[str], difference: Callable[[str, str], PairedDifference]
) -> tuple[dict[str, Gain], list[PairOfArms]]:
    """Each arm's gain over the base policy, where that is among `policies`, and each pair of arms.

    The gains are one family of comparisons, the pairs another.
    """
    arms = [policy for policy in policies if policy != BASE]
    rivals = arms if BASE in policies else []
    gains: dict[str, Gain] = {
        arm: {**entry, "verdict": words.gain_verdict(benchmark, arm, BASE, entry)}
        for arm, entry in zip(rivals, corrected([difference(arm, BASE) for arm in rivals]), strict=True)
    }
    names = list(combinations(arms, 2))
    pairs: list[PairOfArms] = [
        {"a": a, "b": b, **entry, "verdict": words.pair_verdict(benchmark, a, b, entry)}
        for (a, b), entry in zip(names, corrected([difference(a, b) for a, b in names]), strict=True)
    ]
    return gains, pairs


def corrected(family: Sequence[PairedDifference]) -> list[CorrectedDifference]:
    """The differences of one family, with p values that are corrected for their number."""
    entries: list[CorrectedDifference] = []
    for result, p_holm in zip(family, holm([result.p for result in family]), strict=True):
        low, high = result.interval
        entries.append(
            {
                "difference": result.difference,
                "ci95": [low, high],
                "p": result.p,
                "p_holm": p_holm,
                "detected": result.detected(p_holm),
            }
        )
    return entries


def results(entry: Differences) -> Sequence[Gain]:
    """The differences that answer which arm is better: between arms, or from the base for a single arm."""
    return entry["pairs"] or list(entry["gain"].values())
