"""Statistics of each source's demonstrations in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hpt_core.config import GateConfig, OptimizerConfig, RolloutConfig, TrainConfig
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.module import PolicyModule
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.group import Group, Task
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.loop import train
from hpt_core.trainer.measures.source_stats import SAMPLE, nll_by_source, summarise
from hpt_core.types import Verdict

CONFIG = TrainConfig(
    steps=6,
    prompts_per_step=5,
    gate=GateConfig(gamma=0.5),
    optimizer=OptimizerConfig(lr=1e-2),
)
ROLLOUT = RolloutConfig(group_size=4, max_prompt_tokens=40, max_new_tokens=8)


@pytest.fixture
def tasks(make_group: Callable[..., Group]) -> list[Task]:
    """Ten prompts: four experts of `crowd`, three of `big`, three prompts without."""
    made = []
    for i in range(10):
        source, kind = [("crowd", "human"), ("big", "teacher"), (None, None)][i % 3]
        task = make_group(f"{i} + {i}", [0], kind).task
        made.append(replace(task, expert=replace(task.expert, source=source)) if source else task)
    return made


class Wrong:
    def verify(self, items: Any) -> list[Verdict]:
        return [Verdict(False, None) for _ in items]


class Sink:
    def __init__(self) -> None:
        self.steps: list[Any] = []

    def log(self, step: int, metrics: Any) -> None:
        self.steps.append(metrics)


def test_training_tells_the_sources_apart(policy: LoadedPolicy, tasks: list[Task], tmp_path: Path) -> None:
    sink, kept = Sink(), Checkpoints(tmp_path / "c", "f")
    run = TrainContext(policy, HFEngine(policy), Wrong(), tasks, tasks[:2], CONFIG, ROLLOUT, seed=3)
    train(run, kept, sink)
    gate, metrics = list(kept.rows("gate", 6)), kept.metrics(6)
    for step, told in enumerate(sink.steps, 1):
        for source in ("crowd", "big"):
            taken = [r for r in gate if r["step"] == step and r["source"] == source and r["route"] == "sft"]
            assert told[f"source/{source}/sft"] == len(taken) > 0
            assert told[f"source/{source}/nll"] > 0
        assert told["nll/human"] == told["source/crowd/nll"] != told["source/big/nll"] == told["nll/teacher"]
    found = summarise(gate, metrics)
    assert set(found) == {"crowd", "big"} and found["crowd"]["kind"] == "human"
    assert found["crowd"]["sft"] + found["big"]["sft"] == sum(row["route"] == "sft" for row in gate)
    assert found["crowd"]["sft_share"] + found["big"]["sft_share"] == pytest.approx(1)
    for entry in found.values():
        assert entry["nll_after"] < entry["nll_before"], "imitated for six steps"
        assert entry["sft_first"] == entry["sft_last"] == 1 and entry["solved_last"] == 0


def row(step: int, name: str, rate: float | None, route: str, source: str | None) -> dict[str, Any]:
    kind = {"crowd": "human", "big": "teacher"}.get(source or "")
    return {
        "step": step,
        "prompt_id": name,
        "pass_rate": rate,
        "route": route,
        "trajectory_id": source and f"t-{name}",
        "kind": kind,
        "source": source,
        "trained": route == "sft",
    }


def test_first_and_last_word_of_the_gate_on_each_prompt() -> None:
    gate = [
        row(1, "a", 0.0, "sft", "crowd"),
        row(1, "b", 0.25, "sft", "crowd"),
        row(1, "c", 0.0, "sft", "big"),
        row(2, "d", 0.5, "rl", None),
        row(2, "a", 0.5, "rl", "crowd"),
        row(3, "a", 1.0, "equal", "crowd"),
        row(3, "b", 0.0, "sft", "crowd"),
    ]
    metrics = [
        {"source/crowd/nll_before": 2.0},
        {},
        {"source/crowd/nll_after": 0.5},
    ]
    found = summarise(iter(gate), metrics)
    assert found["crowd"] == {
        "kind": "human",
        "prompts": 2,
        "decisions": 5,
        "sft": 3,
        "sft_share": 0.75,
        "sft_first": 1.0,
        "sft_last": 0.5,
        "solved_first": 0.125,
        "solved_last": 0.5,
        "nll_before": 2.0,
        "nll_after": 0.5,
    }
    assert found["big"]["sft_share"] == 0.25 and found["big"]["nll_before"] is None
    assert list(found) == ["big", "crowd"]


def test_methods_without_rollouts_have_no_pass_rates() -> None:
    found = summarise([row(1, "a", None, "sft", "crowd")], [{}])
    assert found["crowd"]["solved_first"] is None and found["crowd"]["sft_last"] == 1


def test_nll_is_that_of_the_demonstrations(policy: LoadedPolicy, tasks: list[Task]) -> None:
    found = nll_by_source(PolicyModule(policy.model), tasks, CONFIG, seed=1)
    for source in ("crowd", "big"):
        total, count = 0.0, 0
        for task in tasks:
            if task.expert is None or task.expert.source != source:
                continue
            ids = torch.tensor([[*task.tokens, *task.demonstration]])
            with torch.no_grad():
                logits = policy.model(ids, use_cache=False).logits[0, len(task.tokens) - 1 : -1]
            logp = logits.log_softmax(-1).gather(1, ids[0, len(task.tokens) :, None])
            total, count = total - float(logp.sum()), count + len(task.demonstration)
        assert found[source] == pytest.approx(total / count, rel=1e-5)
    assert nll_by_source(PolicyModule(policy.model), tasks[::-1], CONFIG, seed=1) == pytest.approx(found)


def test_of_many_demonstrations_a_seeded_few_are_taken(
    policy: LoadedPolicy, make_group: Callable[..., Group]
) -> None:
    many = [make_group(f"{i} - {i}", [0], "human").task for i in range(3 * SAMPLE)]
    one, two = (nll_by_source(PolicyModule(policy.model), many, CONFIG, seed=seed) for seed in (1, 2))
    assert one != two
    assert one == nll_by_source(PolicyModule(policy.model), many, CONFIG, seed=1)
