"""The policy in training with its optimizers, and the updates of one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.optim import Optimizer

from hpt_core.config import TrainConfig
from hpt_core.policy.batching import TrainingRow
from hpt_core.policy.context_parallel import attend_in_context
from hpt_core.policy.host_moments import offload
from hpt_core.policy.logprobs import checkpoint_layers
from hpt_core.policy.module import PolicyModule
from hpt_core.policy.optimizers import build_optimizers
from hpt_core.policy.packing import check_packing
from hpt_core.rollout.group import Group
from hpt_core.trainer.algorithm_options import options_at
from hpt_core.trainer.batch import demonstration, rows_of
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.measures.metrics import Totals
from hpt_core.trainer.measures.sampler_mismatch import sampler_mismatch
from hpt_core.trainer.measures.source_stats import nll_by_source
from hpt_core.trainer.measures.throughput import forward_flops
from hpt_core.trainer.mini_batch import Learner
from hpt_core.trainer.old_logprobs import Needed, with_old_logprobs
from hpt_core.trainer.phases.schedule import Schedule
from hpt_core.trainer.reference_policy import Reference
from hpt_core.trainer.sft_buffer import SFTBuffer, enters
from hpt_core.trainer.sharding import shard
from hpt_core.trainer.step import update
from hpt_core.trainer.step_records import Decisions
from hpt_core.upge import algorithm


@dataclass
class TrainState:
    run: TrainContext
    """With the parameters of the phase."""
    policy_module: PolicyModule
    optimizers: list[Optimizer]
    reference: Reference | None
    """None without a KL."""
    buffer: SFTBuffer | None
    """ReLIFT's failed prompts that wait for imitation; None for every other method."""

    @classmethod
    def of(cls, run: TrainContext, schedule: Schedule) -> TrainState:
        """The starting policy in the phase of the next step, sharded where there are several ranks."""
        phases, config = run.config.per_phase, schedule.phase.config
        values = any("value" in algorithm(phase.algorithm).needs for phase in phases)
        policy_module = PolicyModule.of(run.policy.model, values=values)
        if (context := run.ranks.context()) is not None:
            attend_in_context(run.policy.model)
            policy_module.context = context
        reference, gathered = None, getattr(torch, config.gathered_dtype)
        if any(phase.kl.coefficient for phase in phases):
            reference = Reference(policy_module, run.ranks, gathered)
        if any(phase.packing for phase in phases) and run.ranks.main:  # the others have no weights yet
            check_packing(run.policy.model)
        _prepare(policy_module, config)
        shard(policy_module, run.ranks, gathered)
        policy_module.check_context(gathered)
        return cls(
            _in_phase(run, schedule),
            policy_module,
            _optimizers(policy_module, config),
            reference,
            _buffer(config),
        )

    def resume(self, checkpoints: Checkpoints) -> None:
        """Load the newest checkpoint, if there is one."""
        step = checkpoints.resume(self.policy_module, self.optimizers)
        if self.buffer is not None:
            rows = (row for row in checkpoints.gate_rows(step) if row["step"] > self.run.begun)
            self.buffer = SFTBuffer.replay(self.buffer.size, rows)

    def enter(self, schedule: Schedule) -> None:
        """Begin the phase of the next step: the same weights under its parameters, with new moments."""
        self.run, config = _in_phase(self.run, schedule), schedule.phase.config
        _prepare(self.policy_module, config)
        self.optimizers, self.buffer = _optimizers(self.policy_module, config), _buffer(config)

    def sampler_mismatch(self, groups: Sequence[Group]) -> dict[str, float]:
        """The policy's log-probabilities against the sampler's, on these rollouts."""
        rows = rows_of(groups, demonstrations=False)
        return sampler_mismatch(self.policy_module, rows, self.run.config, self.run.rollout.temperature)

    def demonstrations(self, name: str) -> dict[str, float]:
        """source/SOURCE/NAME: the NLL of each source's demonstrations under the policy."""
        nll = nll_by_source(self.policy_module, self.run.tasks, self.run.config, self.run.seed)
        return {f"source/{source}/{name}": value for source, value in nll.items()}

    def learn(self, groups: Sequence[Group], step: int) -> tuple[Totals, Decisions]:
        """One optimizer step for each mini-batch of the groups, and one for a full buffer."""
        run, totals, decisions = self.run, Totals(), Decisions()
        learner = Learner(
            self.policy_module,
            self.optimizers,
            run.config,
            options_at(run.config, run.rollout, step - run.begun),
            run.rollout.temperature,
            run.ranks,
            self.reference,
        )
        rows = rows_of(groups, demonstrations=self.buffer is None)
        needed = Needed.of(run.config)
        before = [row.length for row in rows if needed.row(row)]
        totals.add({"flops_old": forward_flops(run.policy.model, before)})
        rows = with_old_logprobs(self.policy_module, rows, run.config, run.rollout.temperature, run.ranks)
        size = -(-len(groups) // run.config.updates_per_step)
        for first in range(0, len(groups), size):
            part = [row for row in rows if first <= row.group < first + size]
            totals.add(update(learner, part, decisions).sums)
        if buffered := self._leaving_the_buffer(groups):
            totals.add(update(learner, buffered, decisions).sums)
        return totals, decisions

    def _leaving_the_buffer(self, groups: Sequence[Group]) -> list[TrainingRow]:
        """Demonstrations of the prompts that leave the buffer after this step's failed prompts were added."""
        if self.buffer is None:
            return []
        self.buffer.add(
            group.task.prompt.prompt_id
            for group in groups
            if enters(group.pass_rate, has_expert=group.task.expert is not None)
        )
        tasks = {task.prompt.prompt_id: task for task in self.run.tasks}
        return [demonstration(tasks[name], number) for number, name in enumerate(self.buffer.take())]


def _in_phase(run: TrainContext, schedule: Schedule) -> TrainContext:
    return replace(run, config=schedule.phase.config, begun=int(schedule.before.steps))


def _prepare(policy_module: PolicyModule, config: TrainConfig) -> None:
    """Set what the method says of dropout, and of layers that recompute their activations."""
    policy_module.dropout = algorithm(config.algorithm).dropout
    if config.gradient_checkpointing:
        checkpoint_layers(policy_module.model, dropout=policy_module.dropout)


def _optimizers(policy_module: PolicyModule, config: TrainConfig) -> list[Optimizer]:
    optimizers = build_optimizers(
        policy_module.model, config.optimizer, value_head=policy_module.value_head, head_lr=config.value.lr
    )
    if config.offload == "optimizer":
        offload(optimizers)
    return optimizers


def _buffer(config: TrainConfig) -> SFTBuffer | None:
    return SFTBuffer(config.sft_buffer) if "buffer" in algorithm(config.algorithm).needs else None
