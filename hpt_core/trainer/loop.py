"""Hybrid Post-Training (arXiv 2509.04419, algorithm 1): sample, verify, gate, update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from hpt_core.config import TrainConfig
from hpt_core.errors import InputError, TrainingError
from hpt_core.policy.optimizers import scale_rates
from hpt_core.protocols import MetricSink
from hpt_core.rollout.group import Group, Task
from hpt_core.seeds import derive
from hpt_core.tables import GateRow
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.measures.health import Watch
from hpt_core.trainer.measures.metrics import Totals, overlong_metrics, step_metrics, verifier_metrics
from hpt_core.trainer.measures.source_stats import nll_per_token
from hpt_core.trainer.measures.throughput import Clock, Speed, spent_on
from hpt_core.trainer.phases import plateau
from hpt_core.trainer.phases.held_out import hold_out
from hpt_core.trainer.phases.schedule import Schedule
from hpt_core.trainer.phases.spending import Spent
from hpt_core.trainer.rollout_queue import RolloutQueue
from hpt_core.trainer.sampling import EngineWeights, greedy_accuracy, has_signal
from hpt_core.trainer.step_records import Decisions, Records
from hpt_core.trainer.storage.run_folder import Waiting
from hpt_core.trainer.train_state import TrainState
from hpt_core.upge import algorithm


def train(run: TrainContext, checkpoints: Checkpoints, sink: MetricSink) -> dict[str, float]:
    """Train `run.policy` in place from its newest checkpoint; returns seconds by phase of a step.

    Afterwards `checkpoints` holds the records of every step. Raises TrainingError for a step that must not
    be taken and, with train.health.stop, for a run that collapses; VerifierError for a dev prompt without a
    verdict; InputError before the first step where a method imitates demonstrations alone and no prompt has
    one.
    """
    tasks, held_out = hold_out(run.tasks, run.config, run.seed)
    run = replace(run, tasks=tasks)
    _check_demonstrations(run)
    background = run.rollout.placement == "separate"
    with checkpoints, RolloutQueue(run.rollout.lag, background=background) as queue:
        return _take_steps(run, held_out, queue, checkpoints, sink)


def _take_steps(
    run: TrainContext,
    held_out: Sequence[Task],
    queue: RolloutQueue,
    checkpoints: Checkpoints,
    sink: MetricSink,
) -> dict[str, float]:
    clock, records = Clock(), Records()
    recorded = checkpoints.metrics(checkpoints.newest)
    schedule = Schedule.of(run.config, recorded)
    watch = Watch(run.config.health, recorded[int(schedule.before.steps) :])
    state = TrainState.of(run, schedule)
    state.resume(checkpoints)
    speed, weights = Speed.of(run), EngineWeights(run, state.policy_module)
    waiting = checkpoints.waiting(checkpoints.newest)
    queue.restore(waiting.rows, state.run)
    weights.versions.names.extend(waiting.versions)
    if _samples(state):
        weights.push()
    while not schedule.over:
        step, config = schedule.step, state.run.config
        clock.last.clear()
        torch.manual_seed(derive(run.seed, "step", step, run.ranks.index))
        scale_rates(state.optimizers, schedule.rate_factor())
        sampled = queue.take(state.run, step, schedule.last_step, clock)
        taken = take_step(state, weights, sampled, step, clock)
        queue.finish(clock)
        metrics = {**_metrics(taken, state.run, schedule), **_held_out(state, held_out, schedule, clock)}
        if evaluated := step % config.dev_every == 0:
            metrics |= _dev_accuracy(state, weights, clock)
        metrics |= watch.check(step, metrics)
        phase_ended = schedule.observe({"step": step, **metrics})
        if schedule.over:
            metrics |= {} if evaluated else _dev_accuracy(state, weights, clock)
            metrics |= _nll(state, "nll_after", clock)
        elif phase_ended:
            state.enter(schedule)
            queue.clear()
            watch = Watch(run.config.health)
        if _samples(state) and not evaluated and not schedule.over:
            with clock.phase("push"):
                weights.push()
        records.rollouts += taken.decisions.rollout_rows(taken.sampled)
        records.gate += taken.gate_rows
        records.metrics.append({"step": step, **metrics})
        # Times differ from run to run, so they go to the sink and not into the record.
        sink.log(step, {**metrics, **speed.metrics(clock.last, queue.drawn, taken.totals)})
        if step % config.checkpoint_every == 0 or schedule.over:
            with clock.phase("checkpoint"):
                # The newest version is pushed again by whoever resumes.
                waiting = Waiting(queue.rows(), list(weights.versions.names)[:-1])
                checkpoints.save(step, state.policy_module, state.optimizers, records, waiting)
    with clock.phase("checkpoint"):
        checkpoints.wait()
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


@dataclass(frozen=True)
class StepTaken:
    """What a step sampled, decided and learned."""

    sampled: Sequence[Group]
    judged: Sequence[Group]
    """Those whose prompt has two judged rollouts, or a method without rollouts."""
    staleness: int
    """Steps between the weights of the oldest rollout and the policy's."""
    before: Mapping[str, float]
    """Measured before the update."""
    totals: Totals
    decisions: Decisions
    gate_rows: Sequence[GateRow]
    spent: Spent


def take_step(
    state: TrainState, weights: EngineWeights, sampled: Sequence[Group], step: int, clock: Clock
) -> StepTaken:
    """Gate and update on what was sampled for the step. Raises TrainingError where no prompt can be
    decided.
    """
    run = state.run
    judged = [group for group in sampled if group.decidable]
    if not judged:
        raise TrainingError(f"step {step}: no prompt has two judged rollouts; see the warnings above")
    staleness = weights.versions.age(judged)
    run.engine.sleep()
    before = _before_update(state, judged, step, clock)
    with clock.phase("update"):
        totals, decisions = state.learn(_trained_on(judged, run.config), step)
    gate_rows, spent = decisions.gate_rows(judged, step), spent_on(run.policy.model, sampled, totals)
    return StepTaken(sampled, judged, staleness, before, totals, decisions, gate_rows, spent)


def _metrics(taken: StepTaken, run: TrainContext, schedule: Schedule) -> dict[str, float]:
    """What the record says of the step; `schedule` has not observed it yet."""
    config = run.config
    return {
        **({"phase": float(schedule.phase.number)} if schedule.config.phases else {}),
        **step_metrics(taken.judged, taken.gate_rows, taken.totals),
        **taken.before,
        **overlong_metrics(taken.judged, config.overlong, run.rollout.max_new_tokens),
        "staleness": float(taken.staleness),
        **(schedule.spent + taken.spent).metrics(),
        **verifier_metrics(taken.sampled),
        "lr": config.optimizer.lr * schedule.rate_factor(),
        **({"sampling/prompts": float(len(taken.sampled))} if config.dynamic_sampling else {}),
    }


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
