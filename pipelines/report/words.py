"""Numbers and comparisons in words, the same in the report, the terminal and metrics/compare.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pipelines.report.comparison_file import Accuracy, CorrectedDifference, SourceAccuracy

if TYPE_CHECKING:
    # At run time it would import the verifier, on which no page depends.
    from hpt_core.mutation.report import RatesEntry

NONE = "\u2013"
"""A table's cell without a value."""
MINUS = "\u2212"
SIGNS = f"An interval that goes below 0 ({MINUS}) contains the opposite of its sentence."
"""How the intervals of the verdicts are read."""
FEW, MANY = 0.5, 0.1
"""Share of an arm's prompts with a demonstration below which, and of responses that were cut off above which,
the table and the report say so."""


def percent(share: float) -> str:
    """0.6125 -> 61.3%"""
    return f"{100 * share:.1f}%"


def points(difference: float) -> str:
    """0.0312 -> 3.1; never -0.0, and with the minus sign of typography"""
    return f"{round(100 * difference, 1) + 0.0:.1f}".replace("-", MINUS)


def signed(difference: float) -> str:
    """0.0312 -> +3.1, for tables"""
    text = points(difference)
    return text if text.startswith(MINUS) or text == "0.0" else f"+{text}"


def interval(ci95: Sequence[float]) -> str:
    """[0.57, 0.651] -> 57.0 to 65.1"""
    return f"{points(ci95[0])} to {points(ci95[1])}"


def p_value(p: float) -> str:
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def count(number: float) -> str:
    """1234567 -> 1.23M"""
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{suffix}" if number < 999.5 * size else f"{number / size:.0f}{suffix}"
    return f"{number:.0f}"


def gain_verdict(benchmark: str, arm: str, base: str, result: CorrectedDifference) -> str:
    """One sentence on an arm and the policy it started from."""
    evidence = f"(95% {interval(result['ci95'])}, {p_value(result['p_holm'])})"
    if not result["detected"]:
        return f"On {benchmark}, no difference was detected between {arm} and {base}: {_by(arm, result)}."
    if result["difference"] > 0:
        return f"On {benchmark}, {arm} gains {points(result['difference'])} points over {base} {evidence}."
    low, high = result["ci95"]
    evidence = f"(95% {interval([-high, -low])}, {p_value(result['p_holm'])})"
    return f"On {benchmark}, {arm} loses {points(-result['difference'])} points against {base} {evidence}."


def pair_verdict(benchmark: str, a: str, b: str, result: CorrectedDifference) -> str:
    """One sentence on two arms. The better one comes first, so that the difference is positive."""
    if not result["detected"]:
        return f"On {benchmark}, no difference was detected between {a} and {b}: {_by(a, result)}."
    low, high = result["ci95"]
    winner, loser, bounds = (a, b, [low, high]) if result["difference"] > 0 else (b, a, [-high, -low])
    return (
        f"On {benchmark}, {winner} beats {loser} by {points(abs(result['difference']))} points "
        f"(95% {interval(bounds)}, {p_value(result['p_holm'])})."
    )


def headline(benchmark: str, accuracy: Mapping[str, Accuracy], rivals: Sequence[str]) -> str:
    """The policy of highest accuracy, and `rivals`, the policies that are not distinguishable from it."""
    best = max(accuracy, key=lambda policy: accuracy[policy]["avg_at_k"])
    entry = accuracy[best]
    share = f"{percent(entry['avg_at_k'])} (95% {interval(entry['ci95'])})"
    lead = f"Highest accuracy on {benchmark}: {best}, {share}."
    if not rivals:
        return f"{lead} Every other policy is detectably below it."
    return f"{lead} Not distinguishable from it: {listed(rivals)}."


def unjudged(share: float, benchmark: str, policy: str) -> str:
    """One sentence on the responses that took the verifier over its limits."""
    return (
        f"On {benchmark}, the verifier exceeded its limits on {percent(share)} of the responses of {policy}; "
        "they count as not solved."
    )


def losses(benchmark: str, sources: Mapping[str, SourceAccuracy]) -> list[str]:
    """A sentence for each source of prompts on which an arm is below the policy it started from."""
    sentences = []
    for source, entry in sources.items():
        gains = entry.get("gain", {})
        below = {arm: gain for arm, gain in gains.items() if gain["difference"] < 0}
        if not below:
            continue
        by = [f"{arm} by {points(-gain['difference'])}" for arm, gain in below.items()]
        who = "every arm is" if len(below) == len(gains) > 1 else "an arm is" if len(by) == 1 else "arms are"
        certain = [arm for arm, gain in below.items() if gain["ci95"][1] < 0]
        chance = (
            f"for {listed(certain)} chance over the prompts does not explain it (95%)"
            if certain
            else "with so few prompts, chance may explain it (95%)"
        )
        sentences.append(
            f"On {source} ({entry['n_prompts']} prompts of {benchmark}), {who} below the base policy: "
            f"{listed(by)} points; {chance}."
        )
    return sentences


def covered(share: float, arm: str) -> str:
    """One sentence on an arm of which few prompts have a demonstration."""
    return f"Only {percent(share)} of the prompts of {arm} have a demonstration of its mix."


def cut_short(share: float, benchmark: str, policy: str) -> str:
    """One sentence on responses that reached the token limit."""
    return (
        f"On {benchmark}, {percent(share)} of the responses of {policy} were cut off at the token limit; a "
        "higher rollout.max_new_tokens may raise its accuracy."
    )


def verifier_errors(rates: Iterable[RatesEntry]) -> str | None:
    """One sentence on the verifier's errors on changed reference answers; None where none can be changed."""
    entries = list(rates)

    def errors(change: Literal["mutants", "rewrites"]) -> str:
        wrong = sum(sum(each[change]["wrong"].values()) for each in entries)
        made = sum(sum(each[change]["made"].values()) for each in entries)
        return f"{wrong} of {made}"

    if not any(each["mutants"]["made"] or each["rewrites"]["made"] for each in entries):
        return None
    return (
        f"Verifier on changed reference answers: accepts {errors('mutants')} wrong ones, rejects "
        f"{errors('rewrites')} harmless ones."
    )


def listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _by(name: str, result: CorrectedDifference) -> str:
    return (
        f"{name} scores {points(result['difference'])} points more "
        f"(95% {interval(result['ci95'])}, {p_value(result['p_holm'])})"
        if result["difference"] >= 0
        else f"{name} scores {points(-result['difference'])} points less "
        f"(95% {interval([-result['ci95'][1], -result['ci95'][0]])}, {p_value(result['p_holm'])})"
    )
