"""Hybrid Post-Training (arXiv 2509.04419, algorithm 1): sample, verify, gate, update."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hpt_core.config import TrainConfig
from hpt_core.errors import InputError, TrainingError
from hpt_core.policy.optimizers import rate_factor, scale_rates
from hpt_core.protocols import MetricSink
from hpt_core.rollout.group import Group
from hpt_core.seeds import derive
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.metrics import Spent, overlong_metrics, step_metrics
from hpt_core.trainer.sampling import EngineWeights, greedy_accuracy, has_signal, sample_groups
from hpt_core.trainer.step_records import Records
from hpt_core.trainer.throughput import Clock, Speed
from hpt_core.trainer.train_state import TrainState
from hpt_core.upge import algorithm


def train(run: TrainContext, checkpoints: Checkpoints, sink: MetricSink) -> dict[str, float]:
    """Train `run.policy` in place from its newest checkpoint; returns seconds by phase.

    Afterwards `checkpoints` holds the records of every step. Raises TrainingError for a step that must not
    be taken, VerifierError for a dev prompt without a verdict, and InputError before the first step where the
    method imitates demonstrations alone and no prompt has one.
    """
    config, clock, records = run.config, Clock(), Records()
    _check_demonstrations(run)
    state = TrainState.of(run)
    start = state.resume(checkpoints)
    spent, speed = Spent.until(checkpoints.metrics(start)), Speed.of(run)
    weights = EngineWeights(run, state.policy_module)
    if samples := algorithm(config.algorithm).rollouts is not None:
        weights.push()
    for step in range(start + 1, config.steps + 1):
        clock.last.clear()
        torch.manual_seed(derive(run.seed, "step", step, run.ranks.index))
        factor = rate_factor(step, config.steps, config.warmup_steps, config.cooldown_steps)
        scale_rates(state.optimizers, factor)
        sampled = sample_groups(run, step, clock)
        groups = [group for group in sampled if group.decidable]
        if not groups:
            raise TrainingError(f"step {step}: no prompt has two judged rollouts; see the warnings above")
        stale = weights.versions.age(groups)
        run.engine.sleep()
        measured = _before_update(state, groups, step, clock)
        with clock.phase("update"):
            totals, decisions = state.learn(_trained_on(groups, config), step)
        evaluated = step % config.dev_every == 0 or step == config.steps
        if samples or evaluated:
            with clock.phase("push"):
                weights.push()

        generated = sum(len(r.completion.token_ids) for group in sampled for r in group.rollouts)
        spent = spent.and_then(generated, totals)
        unjudged = sum(r.reward is None for group in sampled for r in group.rollouts)
        over_limit = sum(r.over_limit for group in sampled for r in group.rollouts)
        gate_rows = decisions.gate_rows(groups, step)
        metrics = {
            **step_metrics(groups, gate_rows, totals),
            **measured,
            **overlong_metrics(groups, config.overlong, run.rollout.max_new_tokens),
            "staleness": float(stale),
            **spent.metrics(),
            "verifier/unjudged": float(unjudged),
            **({"verifier/timeouts": float(over_limit)} if over_limit else {}),
            "lr": config.optimizer.lr * factor,
            **({"sampling/prompts": float(len(sampled))} if config.dynamic_sampling else {}),
            **(_after_update(state, step, clock) if evaluated else {}),
        }
        records.rollouts += decisions.rollout_rows(sampled)
        records.gate += gate_rows
        records.metrics.append({"step": step, **metrics})
        # Times differ from run to run, so they go to the sink and not into the record.
        sink.log(step, {**metrics, **speed.metrics(clock.last, generated, totals)})
        if step % config.checkpoint_every == 0 or step == config.steps:
            with clock.phase("checkpoint"):
                checkpoints.save(step, state.policy_module, state.optimizers, records)
    return dict(clock.total)


def _check_demonstrations(run: TrainContext) -> None:
    imitates = algorithm(run.config.algorithm).rollouts is None
    if imitates and not any(task.demonstration for task in run.tasks):
        raise InputError(
            f"train.algorithm {run.config.algorithm} imitates demonstrations, and none of the "
            f"{len(run.tasks)} training prompts has one; give the arm a mix with trajectories of these "
            "prompts (data/experts/quarantine.parquet says why others were left out), or choose a method "
            "that trains on rollouts"
        )


def _trained_on(groups: Sequence[Group], config: TrainConfig) -> Sequence[Group]:
    """With dynamic sampling, the groups with a signal; where no group has one, the update is empty anyway."""
    if config.dynamic_sampling is None:
        return groups
    return [group for group in groups if has_signal(group)] or groups


def _before_update(state: TrainState, groups: Sequence[Group], step: int, clock: Clock) -> dict[str, float]:
    """Sampler mismatch; at the first step also the NLL of the demonstrations."""
    with clock.phase("compare"):
        measured = state.sampler_mismatch(groups)
    if step == 1:
        with clock.phase("nll"):
            measured |= state.demonstrations("nll_before")
    return measured


def _after_update(state: TrainState, step: int, clock: Clock) -> dict[str, float]:
    """Accuracy on the dev prompts; at the last step also the NLL of the demonstrations."""
    with clock.phase("dev"):
        measured = greedy_accuracy(state.run)
    if step == state.run.config.steps:
        with clock.phase("nll"):
            measured |= state.demonstrations("nll_after")
    return measured
