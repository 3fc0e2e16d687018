"""A project that is small enough to train in a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hpt_core import tables
from hpt_core.policy.model import LoadedPolicy, save_policy
from hpt_core.rollout.group import Group, Task
from pipelines import paths

PARAMS = """
seed: 3
threads: 1
curate:
  train: [{name: s, reasoning_gym: chain_sum, size: 1, seed: 1}]
  dev_size: 1
  max_problem_chars: 100
  benchmarks: {held: [{name: s, reasoning_gym: chain_sum, size: 1, seed: 2}]}
base: {model: models/base}
teacher: null
rollout: {group_size: 4, max_prompt_tokens: 40, max_new_tokens: 8}
experts: {max_tokens: 40, licenses: [mit], sources: [{name: worked, kind: program}]}
arms: {program: {mix: {program: 1.0}}}
train:
  steps: 7
  prompts_per_step: 4
  gate: {gamma: 0.25}
  checkpoint_every: 2
  dev_every: 3
  optimizer: {name: muon, lr: 0.003, matrix_lr: 0.01}
evaluate: {samples: 2}
verifier: {}
tracking: {experiment: e, registered_model: m}
schedule: {cron: "0 2 * * *", timezone: UTC}
"""


@pytest.fixture
def project(policy: LoadedPolicy, make_group: Callable[..., Group], tmp_path: Path) -> Path:
    """The inputs of the stage `train`, small enough for a second of training."""
    groups = [make_group(f"{i} + {i}", [0], "program" if i % 3 else None) for i in range(9)]
    prompts = [tables.as_row(group.task.prompt) | {"answer": "9"} for group in groups]
    experts = [tables.as_row(group.task.expert) for group in groups if group.task.expert]
    tables.write(tmp_path / "data/prompts/train.parquet", prompts[:-1], tables.PROMPTS)
    tables.write(tmp_path / "data/prompts/dev.parquet", prompts[-1:], tables.PROMPTS)
    demonstrations = ({name: row[name] for name in tables.DEMONSTRATIONS.names} for row in experts)
    tables.write(tmp_path / paths.demonstrations("program"), demonstrations, tables.DEMONSTRATIONS)
    # Dropout makes training draw random numbers, which a resumed run must draw again.
    policy.model.config.attention_dropout = 0.1
    save_policy(policy, tmp_path / "models/base")
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


@pytest.fixture
def tasks(make_group: Callable[..., Group]) -> list[Task]:
    """Six prompts, two without a demonstration; "1 + 1" and "2 + 2" are hopeless."""
    made = [make_group(f"{i} + {i}", [0], "human" if i % 3 else None).task for i in range(6)]
    return [
        replace(task, prompt=replace(task.prompt, answer="never")) if i in (1, 2) else task
        for i, task in enumerate(made)
    ]
