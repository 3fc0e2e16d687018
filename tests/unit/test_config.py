"""The typed parameters: cheap to import, and strict."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest
from pydantic import ValidationError

from hpt_core.config import (
    AlgorithmName,
    ExpertSource,
    ImportanceConfig,
    Policy,
    PromptSource,
    Sampling,
    TrainConfig,
)
from hpt_core.upge import ALGORITHMS


def test_parameters_load_without_torch() -> None:
    script = "import hpt_core.config, sys; print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PromptSource(name="x", answer_kind="math"), "exactly one of reasoning_gym, file, hub"),
        (lambda: PromptSource(name="x", file="f", hub="h", answer_kind="math"), "exactly one of"),
        (lambda: PromptSource(name="x", reasoning_gym="chain_sum"), "needs size and seed"),
        (lambda: PromptSource(name="x", file="f"), "name its answer_kind"),
        (lambda: ExpertSource(name="x", kind="program", file="f"), "code writes program trajectories"),
        (lambda: ExpertSource(name="x", kind="human"), "exactly one of file, hub"),
        (lambda: Policy(), "exactly one of model"),
        (
            lambda: ImportanceConfig(level="geometric"),
            r"no weight; to take rollouts out by it write train.seq",
        ),
        (lambda: ImportanceConfig(low=0.5), "truncate has no lower limit; remove low, or set kind: mask"),
        (lambda: ImportanceConfig(kind="mask", low=1.1), r"\[1.1, 2.0\] leaves out 1"),
        (lambda: ImportanceConfig(high=0.9), r"\[0, 0.9\] leaves out 1"),
        (lambda: TrainConfig(importance_cap=3.0), r"own now; write importance: \{high: 3.0\}"),
        (lambda: TrainConfig(importance_cap=None), "this key is a section of its own now; remove it"),
        (lambda: Sampling(max_new_tokens="8"), "valid integer"),
        (lambda: Sampling(max_new_tokens=8, temprature=1.0), "temprature"),
    ],
)
def test_inconsistent_keys_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make()  # type: ignore[operator]


def test_every_algorithm_has_a_name_in_the_parameters() -> None:
    assert set(get_args(AlgorithmName)) == set(ALGORITHMS)


def test_parameters_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Sampling(max_new_tokens=8).max_new_tokens = 9
