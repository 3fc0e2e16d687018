"""The window of pass rates that an arm trains on."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpt_core import tables
from hpt_core.types import Prompt
from pipelines.stage.training_data import in_window

RATES = {"never": 0.0, "seldom": 0.25, "often": 0.75, "always": 1.0}


@pytest.fixture
def pass_rates(tmp_path: Path) -> Path:
    rows = [
        {"prompt_id": name, "samples": 4, "solved": int(4 * rate), "pass_rate": rate}
        for name, rate in RATES.items()
    ]
    tables.write(tmp_path / "pass_rates.parquet", rows, tables.PASS_RATES)
    return tmp_path / "pass_rates.parquet"


@pytest.fixture
def prompts() -> list[Prompt]:
    return [Prompt(name, f"{name}?", "1", "exact", "s", "mit") for name in (*RATES, "unjudged")]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ([0.0, 1.0], ["never", "seldom", "often", "always"]),
        ([0.1, 0.9], ["seldom", "often"]),
        ([0.25, 0.75], ["seldom", "often"]),
        ([0.0, 0.0], ["never"]),
    ],
)
def test_the_window_includes_its_ends(
    pass_rates: Path, prompts: list[Prompt], window: list[float], expected: list[str]
) -> None:
    kept, left_out = in_window(prompts, window, pass_rates)
    assert [prompt.prompt_id for prompt in kept] == expected
    assert len(kept) + len(left_out) == len(prompts), "every prompt is counted"


def test_a_prompt_outside_of_the_window_has_a_reason(pass_rates: Path, prompts: list[Prompt]) -> None:
    _, left_out = in_window(prompts, [0.2, 0.8], pass_rates)
    assert {row["row"]: row["reason"] for row in left_out} == {
        "never?": "too_hard",
        "always?": "too_easy",
        "unjudged?": "no_pass_rate",
    }
    assert "pass rate 0.0; train.difficulty is [0.2, 0.8]" in left_out[0]["detail"]


def test_without_a_window_the_pass_rates_are_not_read(prompts: list[Prompt]) -> None:
    assert in_window(prompts, None, Path("not/there")) == (prompts, [])
