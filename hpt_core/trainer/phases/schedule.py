"""The phase of the next step, from the metrics of the steps before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hpt_core.config import TrainConfig, UntilConfig
from hpt_core.policy.optimizers import rate_factor
from hpt_core.trainer.phases import plateau
from hpt_core.trainer.phases.spending import NOTHING, Spent


@dataclass(frozen=True)
class Phase:
    """A method with its own rates and length."""

    number: int
    """From 1."""
    config: TrainConfig
    """The parameters of the run with those of the phase in their place."""
    until: UntilConfig


@dataclass
class Schedule:
    """The phases of a run, and where in them the run is."""

    config: TrainConfig
    phases: list[Phase]
    spent: Spent = NOTHING
    """Since the start of the run."""
    before: Spent = NOTHING
    """Spent before the phase."""
    index: int = 0
    measured: list[float] = field(default_factory=list)
    """The measurements of the phase in which a plateau is looked for."""

    @classmethod
    def of(cls, config: TrainConfig, metrics: Iterable[Mapping[str, float]] = ()) -> Schedule:
        """The schedule after the steps with these metrics, in order."""
        untils = [phase.until for phase in config.phases] if config.phases else [None]
        pairs = enumerate(zip(config.per_phase, untils, strict=True), start=1)
        schedule = cls(config, [Phase(number, own, until or UntilConfig()) for number, (own, until) in pairs])
        for row in metrics:
            schedule.observe(row)
        return schedule

    @property
    def phase(self) -> Phase:
        """The phase of the next step."""
        return self.phases[min(self.index, len(self.phases) - 1)]

    @property
    def step(self) -> int:
        """The next step, from 1."""
        return int(self.spent.steps) + 1

    @property
    def step_of_phase(self) -> int:
        """The number of the next step in its phase, from 1."""
        return self.step - int(self.before.steps)

    @property
    def last_step(self) -> int:
        """The last step that the phase can have; a budget or a plateau may end it before."""
        return int(self.before.steps) + self._steps_of_phase()

    @property
    def over(self) -> bool:
        """Whether the run ends with its last step, its budget or its last phase."""
        return (
            self.spent.steps >= self.config.steps
            or self.spent.share(self.config.budget) >= 1
            or self.index == len(self.phases)
        )

    @property
    def nll_is_due(self) -> bool:
        """Whether the NLL of the held-out demonstrations is measured after the next step."""
        watched = self.phase.until.plateau
        return watched is not None and watched.metric == "nll" and self.step_of_phase % watched.every == 0

    def observe(self, row: Mapping[str, float]) -> bool:
        """Take a step into account, whose metrics are `row`; returns whether its phase ended with it."""
        self.spent = Spent.at(row)
        watched = self.phase.until.plateau
        if watched and (value := row.get(plateau.NAMES[watched.metric])) is not None:
            self.measured.append(value)
        if not self._phase_is_over():
            return False
        self.index, self.before, self.measured = self.index + 1, self.spent, []
        return True

    def _phase_is_over(self) -> bool:
        until, spent = self.phase.until, self.spent - self.before
        return (
            (until.steps is not None and spent.steps >= until.steps)
            or spent.share(until) >= 1
            or (until.plateau is not None and plateau.reached(self.measured, until.plateau))
        )

    def rate_factor(self) -> float:
        """The factor of the learning rates at the next step: that of the method times a linear rise, 1, and a
        linear fall to almost 0.

        It counts the steps of the phase, up to the nearest end that is known before: the phase's steps, those
        of the run, or a budget. Of a budget, the fall begins where the share that is left is that of
        `cooldown_steps` in these steps.
        """
        config, steps = self.phase.config, self._steps_of_phase()
        factor = rate_factor(self.step_of_phase, steps, config.warmup_steps, config.cooldown_steps)
        spent = max((self.spent - self.before).share(self.phase.until), self.spent.share(self.config.budget))
        return config.scale_of_rates * min(factor, (1 - spent) * steps / max(1, config.cooldown_steps))

    def _steps_of_phase(self) -> int:
        """The most steps that the phase may have."""
        left = self.config.steps - int(self.before.steps)
        return left if self.phase.until.steps is None else min(left, self.phase.until.steps)
