"""Training on the GPU: it changes the weights, its metrics are finite, and it repeats to the bit."""

from __future__ import annotations

import copy
from math import isfinite
from pathlib import Path
from typing import Any

import pytest

from hpt_core.config import GateConfig, LoraConfig, OptimizerConfig, RolloutConfig, TrainConfig
from hpt_core.policy.chat import Chat
from hpt_core.policy.lora import with_lora
from hpt_core.policy.model import LoadedPolicy, weights_hash
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.group import Task
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.loop import train
from hpt_core.types import Prompt, Trajectory

SETTINGS: dict[str, dict[str, Any]] = {
    "muon": {"optimizer": OptimizerConfig(name="muon", lr=1e-3, matrix_lr=5e-3)},
    "adamw, bfloat16": {"optimizer": OptimizerConfig(lr=1e-3), "autocast": "bfloat16"},
    "gradient checkpointing": {"optimizer": OptimizerConfig(lr=1e-3), "gradient_checkpointing": True},
    "lora": {"optimizer": OptimizerConfig(lr=1e-2), "lora": LoraConfig(rank=4)},
    "moments in host memory": {"optimizer": OptimizerConfig(lr=1e-3), "offload": "optimizer"},
}


@pytest.fixture
def tasks(policy: LoadedPolicy) -> list[Task]:
    """Twelve prompts; two of three have a demonstration."""
    chat, tasks = Chat(policy.tokenizer), []
    for i in range(12):
        prompt = Prompt(f"p{i}", f"{i} + {i} =", str(2 * i), "exact", "made", "mit")
        expert = Trajectory(f"t{i}", f"p{i}", f"{2 * i}", "human", "s", "a", "mit", "{}", True, 5, "0")
        given = expert if i % 3 else None
        demonstration = chat.response(expert.response) if given else []
        tasks.append(Task(prompt, chat.prompt(prompt.problem), given, demonstration))
    return tasks


def run(policy: LoadedPolicy, tasks: list[Task], verifier: Any, steps: int, **settings: Any) -> TrainContext:
    config = TrainConfig(
        steps=steps,
        prompts_per_step=6,
        updates_per_step=2,
        gate=GateConfig(gamma=0.25),
        dev_every=4,
        checkpoint_every=2,
        **settings,
    )
    rollout = RolloutConfig(group_size=4, max_prompt_tokens=60, max_new_tokens=12)
    trained = LoadedPolicy(copy.deepcopy(policy.model), policy.tokenizer)
    sampler = trained
    if config.lora is not None:
        sampler = LoadedPolicy(copy.deepcopy(policy.model), policy.tokenizer)
        trained = with_lora(trained, config.lora, seed=3)
    return TrainContext(trained, HFEngine(sampler), verifier, tasks, tasks[:2], config, rollout, seed=3)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_a_run_repeats_to_the_bit_and_resumes_to_the_bit(
    policy: LoadedPolicy,
    tasks: list[Task],
    verifier: Any,
    sink: Any,
    tmp_path: Path,
    settings: dict[str, Any],
) -> None:
    start = weights_hash(policy.model)
    hashes = []
    for folder in ("one", "two"):
        job = run(policy, tasks, verifier, 4, **settings)
        train(job, Checkpoints(tmp_path / folder, "f"), sink)
        hashes.append(weights_hash(job.policy.model))
    assert hashes[0] == hashes[1] != start
    for metrics in sink.steps.values():
        assert all(isfinite(value) for value in metrics.values()), metrics
        assert metrics["sampler/difference_max"] < (0.5 if settings.get("autocast") else 1e-3)

    class Stop(Exception):
        pass

    class Interrupting:
        def log(self, step: int, metrics: Any) -> None:
            if step == 3:
                raise Stop

    with pytest.raises(Stop):
        train(run(policy, tasks, verifier, 4, **settings), Checkpoints(tmp_path / "cut", "f"), Interrupting())
    resumed = run(policy, tasks, verifier, 4, **settings)
    train(resumed, Checkpoints(tmp_path / "cut", "f"), sink)
    assert weights_hash(resumed.policy.model) == hashes[0]
