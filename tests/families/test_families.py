"""A family passes the checks of the survey, or is refused with a reason, as docs/models.md says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers.utils import logging as transformers_logging

from hpt_core.errors import InputError

from .survey import Family, load, saved, survey
from .table import documented, row
from .zoo import NOT_BUILT, families

CORE = ("gemma2", "gpt2", "llama", "mamba", "mixtral", "phi3", "qwen3")
"""Always tested; the others with `make test-all`."""
OTHERS = sorted(families().keys() - NOT_BUILT.keys() - set(CORE))


@pytest.fixture(scope="module", autouse=True)
def quiet() -> None:
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()


@pytest.mark.parametrize(
    "model_type", [*CORE, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_a_family_passes_or_is_refused_as_documented(model_type: str, tmp_path: Path) -> None:
    outcomes, deviations = survey(model_type, tmp_path)
    assert {check: outcome.reason for check, outcome in outcomes.items() if outcome.failed} == {}, deviations
    assert row(model_type, outcomes) == documented()[model_type]


def test_a_padding_row_that_transformers_sets_to_zero_after_reading_it(tmp_path: Path) -> None:
    family = Family("youtu", tmp_path)
    load(family)
    saved(family)


def test_logits_that_depend_on_the_length_of_the_row(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="depend on later tokens"):
        Family("prophetnet", tmp_path).loaded()


def test_every_family_is_documented() -> None:
    assert documented().keys() >= families().keys() - NOT_BUILT.keys()
