"""Hybrid Post-Training (arXiv 2509.04419, algorithm 1): sample, verify, gate, update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from hpt_core.config import TrainConfig
from hpt_core.errors import InputError, TrainingError
from hpt_core.policy.optimizers import scale_rates
from hpt_core.protocols import MetricSink
from hpt_core.rollout.group import Group, Task
from hpt_core.seeds import derive
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.measures.health import Watch
from hpt_core.trainer.measures.metrics import overlong_metrics, step_metrics, verifier_metrics
from hpt_core.trainer.measures.source_stats import nll_per_token
from hpt_core.trainer.measures.throughput import Clock, Speed, spent_on
from hpt_core.trainer.phases import plateau
from hpt_core.trainer.phases.held_out import hold_out
from hpt_core.trainer.phases.schedule import Schedule
from hpt_core.trainer.sampling import EngineWeights, greedy_accuracy, has_signal, sample_groups
from hpt_core.trainer.step_records import Records
from hpt_core.trainer.train_state import TrainState
from hpt_core.upge import algorithm


def train(run: TrainContext, checkpoints: Checkpoints, sink: MetricSink) -> dict[str, float]:
    """Train `run.policy` in place from its newest checkpoint; returns seconds by phase of a step.

    Afterwards `checkpoints` holds the records of every step. Raises TrainingError for a step that must not
    be taken and, with train.health.stop, for a run that collapses; VerifierError for a dev prompt without a
    verdict; InputError before the first step where a method imitates demonstrations alone and no prompt has
    one.
    """
    clock, records = Clock(), Records()
    tasks, held_out = hold_out(run.tasks, run.config, run.seed)
    run = replace(run, tasks=tasks)
    _check_demonstrations(run)
    recorded = checkpoints.metrics(checkpoints.newest)
    schedule = Schedule.of(run.config, recorded)
    watch = Watch(run.config.health, recorded[int(schedule.before.steps) :])
    state = TrainState.of(run, schedule)
    state.resume(checkpoints)
    speed, weights = Speed.of(run), EngineWeights(run, state.policy_module)
    if _samples(state):
        weights.push()
    while not schedule.over:
        step, config = schedule.step, state.run.config
        clock.last.clear()
        torch.manual_seed(derive(run.seed, "step", step, run.ranks.index))
        factor = schedule.rate_factor()
        scale_rates(state.optimizers, factor)
        sampled = sample_groups(state.run, step, clock)
        groups = [group for group in sampled if group.decidable]
        if not groups:
            raise TrainingError(f"step {step}: no prompt has two judged rollouts; see the warnings above")
        stale = weights.versions.age(groups)
        run.engine.sleep()
        measured = _before_update(state, groups, step, clock)
        with clock.phase("update"):
            totals, decisions = state.learn(_trained_on(groups, config), step)
        spent = spent_on(run.policy.model, sampled, totals)
        gate_rows = decisions.gate_rows(groups, step)
        metrics = {
            **({"phase": float(schedule.phase.number)} if run.config.phases else {}),
            **step_metrics(groups, gate_rows, totals),
            **measured,
            **overlong_metrics(groups, config.overlong, run.rollout.max_new_tokens),
            "staleness": float(stale),
            **(schedule.spent + spent).metrics(),
            **verifier_metrics(sampled),
            "lr": config.optimizer.lr * factor,
            **({"sampling/prompts": float(len(sampled))} if config.dynamic_sampling else {}),
            **_held_out(state, held_out, schedule, clock),
        }
        if evaluated := step % config.dev_every == 0:
            metrics |= _dev_accuracy(state, weights, clock)
        metrics |= watch.check(step, metrics)
        phase_ended = schedule.observe({"step": step, **metrics})
        if schedule.over:
            metrics |= {} if evaluated else _dev_accuracy(state, weights, clock)
            metrics |= _nll(state, "nll_after", clock)
        elif phase_ended:
            state.enter(schedule)
            watch = Watch(run.config.health)
        if _samples(state) and not evaluated and not schedule.over:
            with clock.phase("push"):
                weights.push()
        records.rollouts += decisions.rollout_rows(sampled)
        records.gate += gate_rows
        records.metrics.append({"step": step, **metrics})
        # Times differ from run to run, so they go to the sink and not into the record.
        sink.log(step, {**metrics, **speed.metrics(clock.last, spent.generated, totals)})
        if step % config.checkpoint_every == 0 or schedule.over:
            with clock.phase("checkpoint"):
                checkpoints.save(step, state.policy_module, state.optimizers, records)
    return dict(clock.total)


def _check_demonstrations(run: TrainContext) -> None:
    imitating = [c.algorithm for c in run.config.per_phase if algorithm(c.algorithm).rollouts is None]
    if imitating and not any(task.demonstration for task in run.tasks):
        raise InputError(
            f"train.algorithm {imitating[0]} imitates demonstrations, and none of the "
            f"{len(run.tasks)} training prompts has one; give the arm a mix with trajectories of these "
            "prompts (data/experts/quarantine.parquet says why others were left out), or choose a method "
            "that trains on rollouts"
        )


def _samples(state: TrainState) -> bool:
    return algorithm(state.run.config.algorithm).rollouts is not None


def _trained_on(groups: Sequence[Group], config: TrainConfig) -> Sequence[Group]:
    """With dynamic sampling, the groups with a signal; where no group has one, the update is empty anyway."""
    if config.dynamic_sampling is None:
        return groups
    return [group for group in groups if has_signal(group)] or groups


def _before_update(state: TrainState, groups: Sequence[Group], step: int, clock: Clock) -> dict[str, float]:
    """Sampler mismatch; at the first step also the NLL of the demonstrations."""
    with clock.phase("compare"):
        measured = state.sampler_mismatch(groups)
    return measured | (_nll(state, "nll_before", clock) if step == 1 else {})


def _nll(state: TrainState, name: str, clock: Clock) -> dict[str, float]:
    with clock.phase("nll"):
        return state.demonstrations(name)


def _held_out(state: TrainState, tasks: Sequence[Task], schedule: Schedule, clock: Clock) -> dict[str, float]:
    """The NLL of the held-out demonstrations, at the steps at which a phase watches it for its plateau."""
    if not schedule.nll_is_due:
        return {}
    with clock.phase("nll"):
        return {plateau.NAMES["nll"]: nll_per_token(state.policy_module, tasks, state.run.config)}


def _dev_accuracy(state: TrainState, weights: EngineWeights, clock: Clock) -> dict[str, float]:
    with clock.phase("push"):
        weights.push()
    with clock.phase("dev"):
        return greedy_accuracy(state.run)
