"""Hybrid Post-Training (arXiv 2509.04419, algorithm 1): sample, verify, gate, update."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hpt_core.errors import TrainingError
from hpt_core.policy.optimizers import rate_factor, scale_rates
from hpt_core.protocols import MetricSink
from hpt_core.rollout.group import Group, gate_row, rollout_row
from hpt_core.seeds import derive
from hpt_core.trainer.algorithm_options import route
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.metrics import Spent, step_metrics
from hpt_core.trainer.sampler_mismatch import WeightVersions
from hpt_core.trainer.sampling import greedy_accuracy, push, sample_groups
from hpt_core.trainer.step_records import Records
from hpt_core.trainer.throughput import Clock, Speed
from hpt_core.trainer.train_state import TrainState
from hpt_core.upge import algorithm


def train(run: TrainContext, checkpoints: Checkpoints, sink: MetricSink) -> dict[str, float]:
    """Train `run.policy` in place from its newest checkpoint; returns seconds by phase.

    Afterwards `checkpoints` holds the records of every step. Raises TrainingError where a step must
    not be taken, and VerifierError where dev prompts cannot be judged.
    """
    config, clock, records = run.config, Clock(), Records()
    state = TrainState.of(run)
    start = state.resume(checkpoints)
    spent, speed = Spent.until(checkpoints.metrics(start)), Speed.of(run)
    versions = WeightVersions(config.max_staleness)
    if rolls := algorithm(config.algorithm).rollouts is not None:
        push(run, versions)
    for step in range(start + 1, config.steps + 1):
        clock.last.clear()
        torch.manual_seed(derive(run.seed, "step", step, run.ranks.index))
        factor = rate_factor(step, config.steps, config.warmup_steps, config.cooldown_steps)
        scale_rates(state.optimizers, factor)
        sampled = sample_groups(run, step, clock)
        groups = [group for group in sampled if group.decidable]
        if not groups:
            raise TrainingError(f"step {step}: no prompt has two judged rollouts; see the warnings above")
        stale = versions.age(groups)
        routes = [route(group, config) for group in groups]
        run.engine.sleep()
        measured = _before_update(state, groups, step, clock)
        with clock.phase("update"):
            totals = state.learn(groups, step)
        watched = step % config.dev_every == 0 or step == config.steps
        if rolls or watched:
            with clock.phase("push"):
                push(run, versions)

        generated = sum(len(r.completion.token_ids) for group in sampled for r in group.rollouts)
        spent = spent.and_then(generated, totals)
        unjudged = sum(r.reward is None for group in sampled for r in group.rollouts)
        metrics = {
            **step_metrics(groups, routes, totals),
            **measured,
            "staleness": float(stale),
            **spent.metrics(),
            "verifier/unjudged": float(unjudged),
            "lr": config.optimizer.lr * factor,
            **(_after_update(state, step, clock) if watched else {}),
        }
        records.rollouts += [rollout_row(rollout) for group in sampled for rollout in group.rollouts]
        records.gate += [gate_row(group, step, to) for group, to in zip(groups, routes, strict=True)]
        records.metrics.append({"step": step, **metrics})
        # Times differ from run to run, so that only the sink hears of them.
        sink.log(step, {**metrics, **speed.metrics(clock.last, generated, totals)})
        if step % config.checkpoint_every == 0 or step == config.steps:
            with clock.phase("checkpoint"):
                checkpoints.save(step, state.policy_module, state.optimizers, records)
    return dict(clock.total)


def _before_update(state: TrainState, groups: Sequence[Group], step: int, clock: Clock) -> dict[str, float]:
    """The policy against its sampler; at the first step also what it makes of the demonstrations."""
    with clock.phase("compare"):
        measured = state.compare(groups)
    if step == 1:
        with clock.phase("nll"):
            measured |= state.demonstrations("nll_before")
    return measured


def _after_update(state: TrainState, step: int, clock: Clock) -> dict[str, float]:
    """The dev prompts; at the last step also what the policy makes of the demonstrations now."""
    with clock.phase("dev"):
        measured = {"dev/accuracy": greedy_accuracy(state.run)}
    if step == state.run.config.steps:
        with clock.phase("nll"):
            measured |= state.demonstrations("nll_after")
    return measured
