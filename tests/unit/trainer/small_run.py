"""A training run of a second: a verifier without a model, an engine that lags, a sink, and the context."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpt_core.config import HintConfig, MixSchedule, OptimizerConfig, RolloutConfig, TrainConfig
from hpt_core.policy.lora import with_lora
from hpt_core.policy.model import LoadedPolicy
from hpt_core.protocols import PassingWeights
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.group import Task
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.loop import train
from hpt_core.types import Verdict

ROLLOUT = RolloutConfig(group_size=4, max_prompt_tokens=60, max_new_tokens=6)


class Fickle:
    """Fails the prompts in `hopeless`; judges the rest by the length of the response."""

    def __init__(self, hopeless: Sequence[str] = ()) -> None:
        self.hopeless, self.heard = hopeless, list[str]()

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        self.heard += [response for response, _, _ in items]
        return [
            Verdict(gold not in self.hopeless and len(response) % 2 == 0, None) for response, gold, _ in items
        ]


class Lagging:
    """An engine that loads new weights `lag` pushes late."""

    def __init__(self, engine: HFEngine, lag: int) -> None:
        self.engine, self.lag = engine, lag
        self.waiting: list[Any] = []

    @property
    def policy(self) -> str:
        return self.engine.policy

    def load_weights(self, weights: PassingWeights) -> None:
        frozen = {name: weight.detach().clone() for name, weight in weights}
        self.waiting.append((frozen, weights.name))
        if len(self.waiting) > self.lag:
            old, self.engine.policy = self.waiting.pop(0)
            self.engine.model.load_state_dict(old, strict=False)

    def sleep(self) -> None: ...

    def generate(self, *asked: Any) -> Any:
        return self.engine.generate(*asked)


class Sink:
    def __init__(self) -> None:
        self.steps: dict[int, Mapping[str, float]] = {}

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.steps[step] = metrics


def run_of(
    policy: LoadedPolicy, tasks: list[Task], name: str, steps: int = 4, **changes: Any
) -> TrainContext:
    policy = policy._replace(model=copy.deepcopy(policy.model))
    engine = HFEngine(policy)
    if lora := changes.get("lora"):
        policy = with_lora(policy._replace(model=copy.deepcopy(policy.model)), lora, seed=3)
    keys = {
        "algorithm": name,
        "steps": 4,
        "prompts_per_step": 6,
        "updates_per_step": 2,
        "optimizer": OptimizerConfig(lr=3e-3),
        "rate_scale": 1.0,  # So that a few steps of any method change something.
        "checkpoint_every": 2,
        "dev_every": 4,
        "sft_buffer": 2,
        "hint": HintConfig(slices=3, high=0.9, low=0.6, steps=10),
        "mu": MixSchedule(peak=0.8, valley=0.2, decay_steps=4) if name == "chord" else None,
        **changes,
    }
    config = TrainConfig(**{**keys, "steps": steps})
    return TrainContext(policy, engine, Fickle(["never"]), tasks, tasks[:1], config, ROLLOUT, seed=3)


def last(policy: LoadedPolicy, tasks: list[Task], name: str, folder: Path, **changes: Any) -> Sink:
    """The metrics of a whole run."""
    sink = Sink()
    train(run_of(policy, tasks, name, **changes), Checkpoints(folder, "f"), sink)
    return sink
