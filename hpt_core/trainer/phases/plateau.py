"""The rule by which a measure has stopped to improve."""

from __future__ import annotations

from collections.abc import Sequence

from hpt_core.config import PlateauConfig

NAMES = {"nll": "held_out/nll", "accuracy": "dev/accuracy"}
"""The measure of a plateau -> its name in the metrics of a step."""


def reached(values: Sequence[float], config: PlateauConfig) -> bool:
    """Whether the last `patience` measurements of a phase were each no improvement.

    A measurement is an improvement if it is better than the last improvement by more than `min_change`; the
    first always is one. An NLL is better if it is lower, an accuracy if it is higher. This is early stopping
    by patience (Goodfellow, Bengio and Courville 2016, algorithm 7.1), without a return to the best weights.
    """
    sign = -1.0 if config.metric == "nll" else 1.0
    best, waited = -float("inf"), 0
    for value in values:
        improved = sign * value > best + config.min_change
        best, waited = (sign * value, 0) if improved else (best, waited + 1)
    return waited >= config.patience
