"""Hybrid Post-Training (arXiv 2509.04419, algorithm 1): sample, verify, gate, update."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.optim import Optimizer

from hpt_core.config import RolloutConfig, Sampling, TrainConfig
from hpt_core.errors import TrainingError, VerifierError
from hpt_core.gate import Route, Switch
from hpt_core.model import LoadedPolicy
from hpt_core.protocols import MetricSink, RolloutEngine, Verifier
from hpt_core.rollout.group import Group, Task, gate_row, rollout_row, sample, score
from hpt_core.seeds import derive
from hpt_core.trainer.batch import rows_of
from hpt_core.trainer.checkpoint import Checkpoints, Records
from hpt_core.trainer.metrics import step_metrics
from hpt_core.trainer.optim import build_optimizers, rate_factor, scale_rates
from hpt_core.trainer.step import Totals, update
from hpt_core.upge import algorithm


@dataclass(frozen=True)
class Run:
    """All that one training run needs, already loaded."""

    policy: LoadedPolicy
    engine: RolloutEngine
    verifier: Verifier
    tasks: Sequence[Task]
    dev: Sequence[Task]
    config: TrainConfig
    rollout: RolloutConfig
    seed: int


def train(run: Run, checkpoints: Checkpoints, sink: MetricSink) -> dict[str, float]:
    """Train `run.policy` in place from its newest checkpoint; returns seconds by phase.

    Afterwards `checkpoints` holds the records of every step. Raises TrainingError where a step must
    not be taken, and VerifierError where dev prompts cannot be judged.
    """
    config, model, gate = run.config, run.policy.model, Switch(run.config.gate.gamma)
    optimizers, records, clock = build_optimizers(model, config.optimizer), Records(), Clock()
    start = checkpoints.resume(model, optimizers)
    generated, trained = _tokens_so_far(checkpoints, start)
    run.engine.load_weights(model)
    for step in range(start + 1, config.steps + 1):
        clock.last.clear()
        torch.manual_seed(derive(run.seed, "step", step))
        factor = rate_factor(step, config.steps, config.warmup_steps, config.cooldown_steps)
        scale_rates(optimizers, factor)
        tasks = tasks_of_step(run.tasks, step, config.prompts_per_step, run.seed)
        with clock.phase("generate"):
            completions = sample(run.engine, tasks, run.rollout, step, run.seed)
        with clock.phase("verify"):
            sampled = score(tasks, completions, run.verifier, step, run.engine.policy)
        groups = [group for group in sampled if group.decidable]
        if not groups:
            raise TrainingError(f"step {step}: no prompt has two judged rollouts; see the warnings above")
        routes = [route(group, config.algorithm, gate) for group in groups]
        with clock.phase("update"):
            totals = learn(run, optimizers, groups)
        run.engine.load_weights(model)

        generated += sum(len(completion.token_ids) for many in completions for completion in many)
        trained += totals["tokens_trained"]
        metrics = step_metrics(groups, routes, totals)
        metrics |= {
            "verifier/unjudged": float(sum(r.reward is None for group in sampled for r in group.rollouts)),
            "lr": config.optimizer.lr * factor,
            "tokens/generated": generated,
            "tokens/trained": trained,
        }
        if step % config.dev_every == 0 or step == config.steps:
            with clock.phase("dev"):
                metrics["dev/accuracy"] = greedy_accuracy(run)
        records.rollouts += [rollout_row(rollout) for group in sampled for rollout in group.rollouts]
        records.gate += [gate_row(group, step, to) for group, to in zip(groups, routes, strict=True)]
        records.metrics.append({"step": step, **metrics})
        sink.log(step, {**metrics, **{f"seconds/{name}": clock.last[name] for name in clock.last}})
        if step % config.checkpoint_every == 0 or step == config.steps:
            with clock.phase("checkpoint"):
                checkpoints.save(step, model, optimizers, records)
    return dict(clock.total)


def learn(run: Run, optimizers: Sequence[Optimizer], groups: Sequence[Group]) -> Totals:
    """One optimizer step for each mini-batch of prompts."""
    config, totals = run.config, Totals()
    options = {
        "gamma": config.gate.gamma,
        "sft_coefficient": config.sft_coefficient,
        "length": run.rollout.max_new_tokens,
    }
    size = -(-len(groups) // config.updates_per_step)
    for first in range(0, len(groups), size):
        rows = rows_of(groups[first : first + size])
        done = update(
            run.policy.model, optimizers, rows, config, options, temperature=run.rollout.temperature
        )
        totals.add(done.sums)
    return totals


def route(group: Group, name: str, gate: Switch) -> Route:
    """Where a prompt goes under the algorithm `name`: only a method with a gate asks the gate."""
    method = algorithm(name)
    if method.gated:
        return group.route(gate)
    if method.rollouts is None:
        return "sft" if group.task.expert else "no_expert"
    return "equal" if group.rewards_equal else "rl"


def tasks_of_step(tasks: Sequence[Task], step: int, count: int, seed: int) -> list[Task]:
    """The `count` prompts of a step (from 1): a seeded shuffle per epoch, read on from step to step."""
    chosen = []
    for position in range((step - 1) * count, step * count):
        epoch, offset = divmod(position, len(tasks))
        chosen.append(tasks[_shuffle(len(tasks), derive(seed, "epoch", epoch))[offset]])
    # Where an epoch ends inside a step a prompt may come twice; one group of it is enough.
    return list({task.prompt.prompt_id: task for task in chosen}.values())


def greedy_accuracy(run: Run) -> float:
    """Share of the dev prompts that greedy decoding solves."""
    greedy = Sampling(temperature=0.0, max_new_tokens=run.rollout.max_new_tokens)
    done = run.engine.generate([task.tokens for task in run.dev], [0] * len(run.dev), greedy)
    verdicts = run.verifier.verify(
        [
            (completion.response, task.prompt.answer, task.prompt.answer_kind)
            for task, completion in zip(run.dev, done, strict=True)
        ]
    )
    for task, verdict in zip(run.dev, verdicts, strict=True):
        if verdict.error is not None:
            raise VerifierError(f"dev prompt {task.prompt.prompt_id}: {verdict.error}")
    return sum(verdict.correct for verdict in verdicts) / len(verdicts)


class Clock:
    """Seconds by phase: of the step under way, and of the whole run."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self.total: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.last[name] = time.perf_counter() - start
        self.total[name] += self.last[name]


@lru_cache(maxsize=4)
def _shuffle(count: int, seed: int) -> list[int]:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()


def _tokens_so_far(checkpoints: Checkpoints, step: int) -> tuple[float, float]:
    done = checkpoints.metrics(step)
    return (done[-1]["tokens/generated"], done[-1]["tokens/trained"]) if done else (0, 0)
