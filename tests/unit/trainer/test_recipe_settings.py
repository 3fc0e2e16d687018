"""The paper's recipes train: their own settings on a small random model of the same architecture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from pipelines.params import recipes

REPO = Path(__file__).parents[3]
CLASSES = {"qwen": (Qwen2Config, Qwen2ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}
SMALL = {"prompts_per_step": 4, "steps": 2, "microbatch_tokens": 256, "checkpoint_every": 2, "dev_every": 2}
"""What is smaller than in the recipe; all else of its `train` is the recipe's."""


def write_model(folder: Path, family: str) -> None:
    """A random model of the recipe's architecture, for the tokenizer that is in the folder."""
    config_class, model_class = CLASSES[family]
    config = config_class(
        # An architecture may add tokens of its own.
        vocab_size=len(AutoTokenizer.from_pretrained(folder)) + 8,
        hidden_size=128,  # heads of 32, the smallest that vLLM takes on a CPU
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=family == "qwen",
    )
    model_class(config).save_pretrained(folder)


def settings(recipe: str, gpus: str) -> dict[str, Any]:
    values = recipes.composed(REPO, recipe, ["data=d", "model=m", f"gpus={gpus}"])
    return {"train": values["train"], "rollout": values["rollout"]}


def trained(
    recipe: str, gpus: str, ranks: int, project: Path, rollout: dict[str, Any]
) -> list[dict[str, Any]]:
    """The metrics of a run with the recipe's settings, but for the sizes and what `rollout` changes."""
    write_model(project / "models/base", "llama" if "llama" in recipe else "qwen")
    asked = settings(recipe, gpus)
    yaml = YAML(typ="safe")
    values = yaml.load(project / "params.yaml")
    values["train"] = {**asked["train"], **SMALL, "ranks": ranks}
    values["rollout"] |= {"dtype": asked["rollout"]["dtype"], "temperature": 1.0, **rollout}
    with (project / "params.yaml").open("w") as file:
        yaml.dump(values, file)
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.train", "program"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,  # two ranks that each start vLLM, on two cores that others may use as well
    )
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line) for line in (project / "metrics/train/program.jsonl").read_text().splitlines()]
    # A random model solves nothing, so that the gate imitates.
    assert sum(row["tokens/trained"] for row in steps) > 0
    assert all(row["grad_norm"] > 0 for row in steps if row["tokens/trained"])
    return steps


@pytest.mark.parametrize(
    ("recipe", "gpus", "ranks"),
    [
        ("paper_qwen_7b", "one", 1),
        pytest.param("paper_qwen_1_5b", "eight", 2, marks=pytest.mark.slow),
        pytest.param("paper_qwen_7b", "eight", 2, marks=pytest.mark.slow),
        pytest.param("paper_llama_8b", "eight", 2, marks=pytest.mark.slow),
        pytest.param("paper_llama_8b", "one", 1, marks=pytest.mark.slow),
    ],
)
def test_a_recipe_trains(recipe: str, gpus: str, ranks: int, project: Path) -> None:
    """With the engine of every machine."""
    steps = trained(recipe, gpus, ranks, project, {"engine": "hf"})
    assert [row["step"] for row in steps] == [1, 2]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("vllm") is None, reason="no vLLM")
@pytest.mark.parametrize(
    ("recipe", "gpus", "served"),
    [
        ("paper_qwen_1_5b", "eight", False),
        ("paper_qwen_7b", "eight", False),
        ("paper_llama_8b", "eight", False),
        ("paper_qwen_7b", "one", False),
        ("paper_qwen_7b", "one", True),
        ("paper_llama_8b", "one", True),
    ],
)
def test_a_recipe_trains_with_its_own_engine(recipe: str, gpus: str, *, served: bool, project: Path) -> None:
    """vLLM in two ranks with a lag of one; adapters are merged, or served as adapters."""
    asked = settings(recipe, gpus)["rollout"]
    assert asked["engine"] == "vllm"
    vllm = {**asked["vllm"], "cpu_cache_gib": 1, "lora": served}
    steps = trained(recipe, gpus, 2, project, {"engine": "vllm", "vllm": vllm, "lag": 1, "slots": 16})
    # The first weights draw the rollouts of the first two steps.
    assert [row["staleness"] for row in steps] == [0, 1]
    assert all(row["sampler/difference_max"] < 0.2 for row in steps)
