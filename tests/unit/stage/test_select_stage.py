"""The stage `select`: an arm's file has its own demonstrations only, and an arm without any is an error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from hpt_core import tables
from hpt_core.config import ArmConfig
from hpt_core.errors import InputError
from hpt_core.types import Prompt, Trajectory
from pipelines import paths, select
from pipelines.params import Params, load_params

REPO = Path(__file__).parents[3]
PROMPTS = [Prompt(f"p{i}", f"{i} + {i} =", str(2 * i), "exact", "a", "MIT") for i in range(8)]


def trajectory(source: str, kind: str, prompt: Prompt, weight: float = 1.0) -> Trajectory:
    name = f"{source}-{prompt.prompt_id}"
    return Trajectory(name, prompt.prompt_id, name, kind, source, "a", "MIT", "{}", True, 5, "h", weight)  # type: ignore[arg-type]


def written(root: Path, params: Params, arm: str, experts: Sequence[Trajectory]) -> bytes:
    """The bytes of the arm's demonstrations, selected among `experts`."""
    tables.write(root / paths.TRAIN_PROMPTS, map(tables.as_row, PROMPTS), tables.PROMPTS)
    tables.write(root / paths.EXPERTS, map(tables.as_row, experts), tables.EXPERTS)
    select.run(params, arm, root)
    return (root / paths.demonstrations(arm)).read_bytes()


@pytest.fixture
def params() -> Params:
    arms = {
        "program": ArmConfig(mix={"program": 1.0}),
        "both": ArmConfig(mix={"program": 0.5, "human": 0.5}),
        "random": ArmConfig(mix={"human": 1.0}, choose="random"),
    }
    return load_params(REPO / "params.yaml").model_copy(update={"arms": arms})


def test_rows_of_other_sources_do_not_change_an_arm(params: Params, tmp_path: Path) -> None:
    worked = [trajectory("worked", "program", prompt) for prompt in PROMPTS]
    crowd = [trajectory("crowd", "human", prompt) for prompt in PROMPTS]
    few, many = worked + crowd[:3], crowd + worked
    assert written(tmp_path, params, "program", few) == written(tmp_path, params, "program", many)
    assert written(tmp_path, params, "both", few) != written(tmp_path, params, "both", many)


def test_a_weight_that_changes_no_choice_changes_no_arm(params: Params, tmp_path: Path) -> None:
    once, twice = ([trajectory("crowd", "human", p, weight) for p in PROMPTS] for weight in (1.0, 2.0))
    assert written(tmp_path, params, "random", once) == written(tmp_path, params, "random", twice)


def test_the_coverage_counts_prompts(params: Params, tmp_path: Path) -> None:
    rows = [trajectory(source, "program", p) for p in PROMPTS[:2] for source in ("a", "b")]
    written(tmp_path, params, "program", rows)
    assert json.loads((tmp_path / paths.coverage("program")).read_text()) == {
        "prompts": 8,
        "with_expert": 2,
        "coverage": 0.25,
        "sources": {"a": 2},
    }
    assert [
        row.prompt_id
        for [row] in tables.read_demonstrations(tmp_path / paths.demonstrations("program")).values()
    ] == ["p0", "p1"]


def test_an_arm_without_any_expert_says_what_became_of_its_sources(params: Params, tmp_path: Path) -> None:
    report = {"worked": {"in": 60, "kept": 0, "dropped": {"license": 2, "unknown_prompt": 58}}}
    (tmp_path / "data/experts").mkdir(parents=True)
    (tmp_path / paths.EXPERTS_REPORT).write_text(json.dumps(report))
    other = [trajectory("crowd", "human", prompt) for prompt in PROMPTS]
    with pytest.raises(InputError) as error:
        written(tmp_path, params, "program", other)
    message = str(error.value)
    assert "arm program: none of 8 training prompts has an expert" in message and "\n" not in message
    assert "source worked: 60 rows, 0 kept, quarantined 58 unknown_prompt, 2 license" in message
    assert not (tmp_path / paths.demonstrations("program")).exists()


def test_a_method_of_rollouts_alone_needs_no_expert(params: Params, tmp_path: Path) -> None:
    alone = params.model_copy(update={"train": params.train.model_copy(update={"algorithm": "grpo"})})
    assert written(tmp_path, alone, "program", [])
    assert json.loads((tmp_path / paths.coverage("program")).read_text())["coverage"] == 0
