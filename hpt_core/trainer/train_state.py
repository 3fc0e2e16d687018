"""The policy in training with its optimizers, and the updates of one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer

from hpt_core.policy.batching import TrainingRow
from hpt_core.policy.logprobs import checkpoint_layers
from hpt_core.policy.module import PolicyModule
from hpt_core.policy.optimizers import build_optimizers
from hpt_core.rollout.group import Group
from hpt_core.trainer.algorithm_options import options_at
from hpt_core.trainer.batch import demonstration, rows_of
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.metrics import Totals
from hpt_core.trainer.old_logprobs import with_old_logprobs
from hpt_core.trainer.reference_policy import Reference
from hpt_core.trainer.sampler_mismatch import sampler_mismatch
from hpt_core.trainer.sft_buffer import SFTBuffer, enters
from hpt_core.trainer.source_stats import nll_by_source
from hpt_core.trainer.step import update
from hpt_core.trainer.step_records import Decisions
from hpt_core.upge import algorithm


@dataclass
class TrainState:
    run: TrainContext
    policy_module: PolicyModule
    optimizers: list[Optimizer]
    reference: Reference | None
    """None without a KL."""
    buffer: SFTBuffer | None
    """ReLIFT's failed prompts that wait for imitation; None for every other method."""

    @classmethod
    def of(cls, run: TrainContext) -> TrainState:
        """The starting policy of the run, sharded where there are several ranks."""
        config, method = run.config, algorithm(run.config.algorithm)
        needs, dropout = method.needs, method.dropout
        policy_module = PolicyModule.of(run.policy.model, values="value" in needs, dropout=dropout)
        reference = Reference(policy_module, run.ranks) if config.kl.coefficient else None
        if config.gradient_checkpointing:
            checkpoint_layers(run.policy.model, dropout=dropout)
        run.ranks.shard(policy_module)
        buffer = SFTBuffer(config.sft_buffer) if "buffer" in needs else None
        optimizers = build_optimizers(
            policy_module.model,
            config.optimizer,
            value_head=policy_module.value_head,
            head_lr=config.value.lr,
        )
        return cls(run, policy_module, optimizers, reference, buffer)

    def resume(self, checkpoints: Checkpoints) -> int:
        """Load the newest checkpoint and return its step; 0 without one."""
        step = checkpoints.resume(self.policy_module, self.optimizers)
        if self.buffer is not None:
            self.buffer = SFTBuffer.replay(self.buffer.size, checkpoints.gate_rows(step))
        return step

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
        options = options_at(run.config, run.rollout, step)
        rows = rows_of(groups, demonstrations=self.buffer is None)
        rows = with_old_logprobs(self.policy_module, rows, run.config, run.rollout.temperature, run.ranks)
        size = -(-len(groups) // run.config.updates_per_step)
        for first in range(0, len(groups), size):
            part = [row for row in rows if first <= row.group < first + size]
            totals.add(self._update(part, options, decisions).sums)
        if buffered := self._leaving_the_buffer(groups):
            totals.add(self._update(buffered, options, decisions).sums)
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

    def _update(
        self, rows: Sequence[TrainingRow], options: Mapping[str, Any], decisions: Decisions
    ) -> Totals:
        run = self.run
        return update(
            self.policy_module,
            self.optimizers,
            rows,
            run.config,
            options,
            temperature=run.rollout.temperature,
            ranks=run.ranks,
            reference=self.reference,
            decisions=decisions,
        )
