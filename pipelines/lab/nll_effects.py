"""What a factor of the settings does to the NLL of solutions that no cell was trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import mean, stdev
from typing import Any

from scipy import special  # type: ignore[import-untyped]

from hpt_core.significance import TAIL
from pipelines.lab.scores import Results


def nll_effects(weights: Mapping[str, float], results: Results) -> dict[str, dict[str, Any]]:
    """Source -> the weighted sum of the settings' NLLs of its solutions, in nats per token, for the mean over
    the methods: its mean over seeds, and the interval of Student's t.

    weights: setting -> its weight in the contrast. results: those of one budget. A source without two seeds
    that have all settings is left out. The problems are the same for all seeds, and no sample.
    """
    runs = defaultdict[tuple[str, int], dict[str, Mapping[str, float]]](dict)
    for cell, result in results.items():
        if cell.trained and cell.setting in weights and "nll" in result:
            runs[cell.method, cell.seed][cell.setting] = result["nll"]
    sums = defaultdict[str, defaultdict[int, list[float]]](lambda: defaultdict(list))
    for (_, seed), nll in runs.items():
        if nll.keys() == weights.keys():
            for source in set.intersection(*map(set, nll.values())):
                sums[source][seed].append(sum(w * nll[setting][source] for setting, w in weights.items()))
    return {
        source: _over_seeds([mean(of_seed) for of_seed in seeds.values()])
        for source, seeds in sorted(sums.items())
        if len(seeds) > 1
    }


def _over_seeds(values: Sequence[float]) -> dict[str, Any]:
    reach = float(special.stdtrit(len(values) - 1, 1 - TAIL)) * stdev(values) / sqrt(len(values))
    center = mean(values)
    return {"difference": center, "ci95": [center - reach, center + reach], "seeds": len(values)}
