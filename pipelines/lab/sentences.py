"""What each contrast of a study says, in a sentence that can be quoted with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.lab.contrasts import ALL, NLL
from pipelines.report import words


def sentences(tables: Mapping[str, Any]) -> list[str]:
    """A sentence for each contrast and budget, from the tables of a study."""
    return [
        f"{name}, {budget}: {_sentence(row['of'], effects, tables['benchmark'])}"
        for name, row in tables.get("contrasts", {}).items()
        for budget, effects in row["budgets"].items()
    ]


def _sentence(contrast: Mapping[str, Any], effects: Mapping[str, Any], benchmark: str) -> str:
    change = f"{contrast['factor']} {contrast['to']} in place of {contrast['base']}"
    equal = " and ".join([*contrast["equal"], *contrast["covariates"]])
    held = f", with {equal} held equal," if equal else ""
    if (effect := effects.get(ALL)) is None:
        return f"{change}{held} is not known yet: {effects.get('none', 'fewer than two seeds are complete')}."
    low, high = effect["ci95"]
    decided = effect["p_corrected"] < 0.05 and not low <= 0 <= high
    methods = sorted(effects.keys() - {"weights", ALL, NLL})
    of = f"the mean of {len(methods)} methods" if len(methods) > 1 else f"with {methods[0]}"
    return (
        f"{change}{held} {'changes' if decided else 'is not seen to change'} the accuracy on {benchmark}: "
        f"{words.signed(effect['difference'])} points (95% interval {words.signed(low)} to "
        f"{words.signed(high)}; {words.p_value(effect['p_corrected'])}, corrected), {of} over "
        f"{effect['seeds']} seeds and {effect['prompts']} prompts.{_nll(effects.get(NLL, {}))}"
    )


def _nll(effects: Mapping[str, Any]) -> str:
    """Also: what changes in the NLL of each source's solutions."""
    named = [
        f"{source} {_nats(one['difference'])} ({_nats(one['ci95'][0])} to {_nats(one['ci95'][1])})"
        for source, one in effects.items()
    ]
    return f" NLL in nats per token: {', '.join(named)}; 95% intervals over seeds." if named else ""


def _nats(difference: float) -> str:
    return f"{difference:+.3f}".replace("-", words.MINUS)
