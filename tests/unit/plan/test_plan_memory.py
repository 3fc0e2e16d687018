"""The memory that `hpt plan` predicts, beside what torch counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from model_configs import LLAMA_8B, PUBLISHED, QWEN_7B, TOTALS, write_config

from pipelines.params import Params, load_params
from pipelines.plan import devices
from pipelines.plan.memory import RESERVED
from pipelines.plan.plan import Plan, Request, plan

REPO = Path(__file__).parents[3]
TOLERANCE = 0.15


def params_of(
    folder: Path, *, ranks: int, rows: int, length: int, checkpointing: bool, gathered: str = "float32"
) -> Params:
    """Of the default recipe, with a model, and micro-batches of `rows` rows of `length` tokens."""
    values = load_params(REPO / "params.yaml").model_dump()
    values["base"] = {"model": str(folder)}
    values["rollout"] |= {
        "engine": "vllm",
        "max_prompt_tokens": 1,
        "max_new_tokens": length - 1,
        "dtype": "bfloat16",
    }
    values["experts"]["max_tokens"] = length - 1
    values["train"] |= {
        "ranks": ranks,
        "optimizer": {"name": "adamw", "lr": 1e-5},
        "autocast": "bfloat16",
        "microbatch_tokens": rows * length,
        "gradient_checkpointing": checkpointing,
        "gathered_dtype": gathered,
    }
    return Params.model_validate(values)


def predicted(made: Plan) -> float:
    """Of the update, without the allowance for what no tensor holds."""
    return made.moments[-1].total - RESERVED * made.device.memory


def tracked(folder: Path, *arguments: object) -> dict[str, int]:
    """The tracker's peak, from a process of its own, in which a process group without ranks may stay."""
    command = [sys.executable, "tests/unit/plan/fsdp_peak.py", str(folder), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    process = subprocess.run(command, cwd=REPO, env=environment, check=True, capture_output=True, text=True)
    return json.loads(process.stdout.splitlines()[-1])


def compare(
    folder: Path, ranks: int, rows: int, length: int, *, checkpointing: bool, gathered: str = "float32"
) -> tuple[float, int]:
    """(predicted, measured) bytes of an update, after a comparison of what is a whole number of bytes."""
    params = params_of(
        folder, ranks=ranks, rows=rows, length=length, checkpointing=checkpointing, gathered=gathered
    )
    made = plan(params, Request(devices.device("h100-80g")))
    measured = tracked(folder, ranks, rows, length, "recomputed" if checkpointing else "kept", gathered)
    lines = {line.what: line.amount for line in made.moments[-1].lines}
    # Shards have whole rows of each tensor, so that the first rank may hold a little more.
    counted = {kind.removeprefix("_FSDPRefType."): size for kind, size in measured.items()}
    assert lines["weights, float32, a shard"] == pytest.approx(counted["SHARDED_PARAM"], rel=1e-3)
    assert lines["gradients, float32, a shard"] == pytest.approx(counted["SHARDED_GRAD"], rel=1e-3)
    assert lines["adamw's moments"] == pytest.approx(counted["OPT"], rel=1e-3)
    return predicted(made), measured["Total"]


def test_shards_gradients_and_moments_of_eight_ranks(tmp_path: Path) -> None:
    """Of two layers: there the parts that are bounds, of one layer and the head, weigh most."""
    folder = write_config(tmp_path / "model", {**QWEN_7B, "num_hidden_layers": 2, "vocab_size": 32000})
    bound, measured = compare(folder, 8, 2, 512, checkpointing=True)
    assert measured < bound


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [True, False])
def test_four_layers_of_qwen_7b_on_eight_ranks(checkpointing: bool, tmp_path: Path) -> None:
    folder = write_config(tmp_path / "model", {**QWEN_7B, "num_hidden_layers": 4})
    made, measured = compare(folder, 8, 2, 2048, checkpointing=checkpointing)
    assert made == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "length", "checkpointing"),
    [(QWEN_7B, 9216, True), (QWEN_7B, 2048, False), (LLAMA_8B, 9216, True)],
    ids=["qwen recomputed", "qwen kept", "llama recomputed"],
)
def test_layers_that_are_gathered_in_bfloat16(
    values: dict[str, object], length: int, checkpointing: bool, tmp_path: Path
) -> None:
    folder = write_config(tmp_path / "model", values)
    made, measured = compare(folder, 8, 1, length, checkpointing=checkpointing, gathered="bfloat16")
    assert made == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "length", "checkpointing"),
    [(QWEN_7B, 9216, True), (QWEN_7B, 2048, False), (LLAMA_8B, 9216, True), (LLAMA_8B, 2048, False)],
    ids=["qwen recomputed", "qwen kept", "llama recomputed", "llama kept"],
)
def test_the_papers_models_on_eight_ranks(
    values: dict[str, object], length: int, checkpointing: bool, tmp_path: Path
) -> None:
    folder = write_config(tmp_path / "model", values)
    made, measured = compare(folder, 8, 1, length, checkpointing=checkpointing)
    assert made == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_are_counted_as_published(name: str, tmp_path: Path) -> None:
    folder = write_config(tmp_path / name, PUBLISHED[name])
    params = params_of(folder, ranks=8, rows=1, length=128, checkpointing=True)
    made = plan(params, Request(devices.device("h100-80g")))
    assert made.shape.parameters == TOTALS[name]
    by_name = {line.what: line.amount for moment in made.moments for line in moment.lines}
    unit = max(made.shape.root, made.shape.layer)
    assert by_name["weights, float32, as they are sharded"] == TOTALS[name] / 2 + 4 * unit
    assert by_name["weights, float32, a shard"] == TOTALS[name] / 2
    assert by_name["adamw's moments"] == TOTALS[name]
