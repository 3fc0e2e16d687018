"""What one factor of the settings does once others are held equal, as a contrast of their accuracies.

The accuracy of each setting is taken to be a sum: a constant, the effect of the factor, one constant for each
level of the factors that are held equal, and a slope for each covariate. The least-squares estimate of the
effect is a weighted sum of the settings' accuracies, with weights that the design alone decides. The same sum
for every seed and prompt gives numbers [seeds, prompts], over which `hpt_core/pooling.py` takes mean,
interval and p: both are random samples that cross. The settings are no sample: an effect is that of these
settings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from hpt_core import tables
from hpt_core.files import read_json
from hpt_core.pooling import pool
from hpt_core.significance import Reals, holm
from hpt_core.tables import count_rows
from pipelines import paths
from pipelines.lab.cells import Study
from pipelines.lab.design import Contrast
from pipelines.lab.nll_effects import nll_effects
from pipelines.lab.scores import FAILED, Results, matching, scores

ALL = "all"
"""The mean over the methods, beside their names."""
NLL = "nll"
"""What the factor does to the NLL of each source's solutions, beside the methods."""
Row = dict[str, Any]


def contrasts(study: Study, results: Results) -> dict[str, Row]:
    """Contrast -> budget -> method -> its effect, of the settings that are complete; why there is none."""
    used = {setting for contrast in study.design.contrasts.values() for setting in contrast.settings}
    folders = {cell.setting: study.setting_at(cell) for cell in results if cell.setting in used}
    measured = {setting: covariates(folder, study.design.arm) for setting, folder in folders.items()}
    found = {
        name: {"of": contrast.model_dump(), "budgets": _by_budget(study, contrast, results, measured)}
        for name, contrast in study.design.contrasts.items()
    }
    for budget in study.design.budgets:
        pooled = [row["budgets"][budget].get(ALL) for row in found.values()]
        effects = [row for row in pooled if row is not None and "p" in row]
        for row, p in zip(effects, holm([row["p"] for row in effects]), strict=True):
            row["p_corrected"] = p
        for row in found.values():
            of_budget = row["budgets"][budget]
            if nll := nll_effects(of_budget.get("weights", {}), matching(results, budget=budget)):
                of_budget[NLL] = nll
    return found


def covariates(setting: Path, arm: str) -> dict[str, float]:
    """tokens: mean length of the arm's demonstrations. nll: that of their sources under the base, per token;
    none where it was not measured. wrong: share of the demonstrations that are wrong."""
    path = setting / paths.demonstrations(arm)
    if not path.exists() or not count_rows(path):
        return {}
    rows = tables.read(path, columns=["source", "n_tokens", "verified"])
    known = read_json(setting / paths.EXPERTS_DISTANCE)
    sources = Counter(row["source"] for row in rows)
    found = {
        "tokens": float(np.mean([row["n_tokens"] for row in rows])),
        "wrong": float(np.mean([not row["verified"] for row in rows])),
    }
    if sources.keys() <= known.keys():
        found["nll"] = sum(known[name]["nll"] * n for name, n in sources.items()) / len(rows)
    return found


def weights(
    contrast: Contrast, levels: Sequence[Mapping[str, str]], measured: Sequence[Mapping[str, float]]
) -> Reals | None:
    """The weight of each setting in the estimate of the effect; None where the effect cannot be told apart.

    levels: factor -> level of each setting. measured: covariate -> value of each.
    """
    columns = [np.ones(len(levels)), np.array([each[contrast.factor] == contrast.to for each in levels])]
    for factor in contrast.equal:
        present = sorted({each[factor] for each in levels})[1:]
        columns += [np.array([each[factor] == level for each in levels]) for level in present]
    for name in contrast.covariates:
        values = np.array([each[name] for each in measured])
        # Without a spread it is held equal already. Centred and scaled, so that the rank is of the design.
        if np.ptp(values) > 0:
            columns.append((values - values.mean()) / values.std())
    matrix = np.stack([column.astype(np.float64) for column in columns], axis=1)
    if np.linalg.matrix_rank(matrix, tol=1e-6) < matrix.shape[1]:
        return None
    found: Reals = np.linalg.pinv(matrix)[1]
    return found


def effect(weight: Reals, values: Reals) -> Row:
    """The effect from the scores [settings, seeds, prompts]: mean, interval and p."""
    reach = float(np.abs(weight).sum())
    estimates = np.tensordot(weight, values, 1).astype(np.float64)
    pooled = pool(estimates, (-reach, reach))
    return {
        "difference": pooled.mean,
        "ci95": list(pooled.ci95),
        "p": pooled.p,
        "seeds": values.shape[1],
        "prompts": values.shape[2],
    }


def _by_budget(
    study: Study, contrast: Contrast, results: Results, measured: Mapping[str, Mapping[str, float]]
) -> dict[str, Row]:
    levels = [study.design.factors[setting] for setting in contrast.settings]
    lacking = [
        setting
        for setting in contrast.settings
        if not measured.get(setting) or not measured[setting].keys() >= {*contrast.covariates}
    ]
    if lacking:
        reason = f"no complete run, or no covariates, of {', '.join(lacking)}"
        return {budget: {"none": reason} for budget in study.design.budgets}
    weight = weights(contrast, levels, [measured[setting] for setting in contrast.settings])
    if weight is None:
        reason = "these settings do not tell it apart from what is held equal"
        return {budget: {"none": reason} for budget in study.design.budgets}
    weighted = dict(zip(contrast.settings, weight.tolist(), strict=True))
    return {
        budget: {"weights": weighted, **_effects(study, contrast, matching(results, budget=budget), weight)}
        for budget in study.design.budgets
    }


def _effects(study: Study, contrast: Contrast, results: Results, weight: Reals) -> dict[str, Row]:
    """Method -> effect over the seeds that all settings have, and that of the mean over the methods."""
    values: dict[str, dict[int, Reals]] = {}
    usable = {cell: result for cell, result in results.items() if FAILED not in result}
    order = sorted(usable, key=lambda cell: (cell.method, cell.seed))
    for (method, seed), cells in groupby(order, lambda cell: (cell.method, cell.seed)):
        by_setting = {cell.setting: scores(usable[cell], study.design.benchmark) for cell in cells}
        if by_setting.keys() >= {*contrast.settings}:
            values.setdefault(method, {})[seed] = np.stack([by_setting[name] for name in contrast.settings])
    values = {method: of for method, of in values.items() if study.design.methods[method].train is not None}
    found = {
        method: effect(weight, np.stack(list(of.values()), axis=1))
        for method, of in values.items()
        if len(of) > 1
    }
    shared = sorted(set.intersection(*(set(of) for of in values.values()))) if values else []
    if len(shared) > 1:
        stacked = [np.stack([of[seed] for seed in shared], axis=1) for of in values.values()]
        found[ALL] = effect(weight, np.mean(stacked, axis=0))
    return found
