"""The sections of params.yaml that only the pipeline reads; hpt_core.config has those of the library."""

from __future__ import annotations

import re
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from hpt_core.config import (
    Choice,
    Config,
    EndpointConfig,
    ExpertSource,
    Fraction,
    Keep,
    Policy,
    Positive,
    Sampling,
    Script,
)
from hpt_core.config.base import at


def _cron_field(value: str) -> str:
    """The expression of a list of values, ranges and steps of one cron field."""
    part = rf"(\*|({value})(-({value}))?)(/[1-9]\d*)?"
    return rf"{part}(,{part})*"


CRON = {
    "minute": _cron_field(r"[0-5]?\d"),
    "hour": _cron_field(r"[01]?\d|2[0-3]"),
    "day": _cron_field(r"0?[1-9]|[12]\d|3[01]|l"),
    "month": _cron_field(r"0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"),
    "weekday": _cron_field(r"l?[0-7](#[1-5])?|sun|mon|tue|wed|thu|fri|sat"),
}
"""What Prefect takes, in lower case. Prefect itself is not asked: reading parameters has to be cheap."""


class TeacherConfig(Config):
    """Who is asked for trajectories, a policy here or a served model, and how."""

    policy: Policy | None = None
    endpoint: EndpointConfig | None = None
    license: str
    """Of the responses."""
    samples: Positive
    temperature: Annotated[float, Field(gt=0)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Positive
    keep: Keep = "shortest"
    """Which correct responses to a prompt become trajectories; of all, each arm chooses its own."""
    budget_samples: Positive | None = None
    """At most this many responses, for the prompts that the starting policy solves least."""
    budget_tokens: Positive | None = None
    """At most this many generated tokens, likewise; where a server does not count them, max_new_tokens.

    What a host bills for attempts that failed or timed out comes on top.
    """

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_new_tokens=self.max_new_tokens)

    @model_validator(mode="after")
    def _one_teacher(self) -> TeacherConfig:
        if (self.policy is None) == (self.endpoint is None):
            raise at((), "give exactly one of policy (sampled here) and endpoint (a server)")
        return self

    @model_validator(mode="after")
    def _budget_for_one_prompt(self) -> TeacherConfig:
        least = {"budget_samples": self.samples, "budget_tokens": self.samples * self.max_new_tokens}
        for name, needed in least.items():
            budget = getattr(self, name)
            if budget is not None and budget < needed:
                raise at((name,), f"{budget} is not enough for one prompt, which may take {needed}")
        return self


class ExpertsConfig(Config):
    sources: list[ExpertSource]
    licenses: list[str]
    """Licenses that may be trained on; others are quarantined."""
    max_tokens: Positive
    scripts: Annotated[list[Script], Field(min_length=1)] | None = None
    """Scripts that the letters of a response are in; null: any."""
    base_logp: bool = False
    """Compute how likely each trajectory is under the starting policy, for arms that choose by it."""

    @model_validator(mode="after")
    def _sources_have_names_of_their_own(self) -> ExpertsConfig:
        # The name is what a trajectory and its dataset in MLflow are known by.
        seen: set[str] = set()
        for i, source in enumerate(self.sources):
            if source.name in seen:
                raise at(("sources", i, "name"), f"two sources are named {source.name!r}; rename one")
            seen.add(source.name)
        return self


class ArmConfig(Config):
    """A provenance mix, and the choice among several trajectories for a prompt."""

    mix: Annotated[dict[str, Fraction], Field(min_length=1)]
    """Expert kind, or source/NAME, -> weight."""
    choose: Choice = "shortest"

    @model_validator(mode="after")
    def _weights_mean_something(self) -> ArmConfig:
        used = sorted(weight for weight in self.mix.values() if weight > 0)
        if not used:
            raise at(("mix",), "every weight is 0, so it has no demonstrations; raise one")
        if self.choose == "preferred" and len(set(used)) < len(used):
            raise at(
                ("mix",), f"choose: preferred goes by weight, and of {used} some are equal; tell them apart"
            )
        return self


class TrackingConfig(Config):
    experiment: str
    registered_model: str


class PromotionConfig(Config):
    """What a candidate has to show before it takes the place of the champion."""

    benchmarks: Annotated[list[str], Field(min_length=1)] | None = None
    """To be better on, each of them; null: all that are not out of distribution."""
    margin: Annotated[Fraction, Field(lt=1)] = 0.0
    """By how much: the whole interval of the paired difference lies above it."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Of that interval, which has two sides."""
    out_of_distribution: list[str] = Field(default_factory=list)
    """Benchmarks unlike the training prompts, where it must not have become worse."""
    tolerance: Fraction = 0.02
    """By more than this, measured there."""


class ScheduleConfig(Config):
    cron: str
    """minute hour day month weekday"""
    timezone: str
    """IANA name."""

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, cron: str) -> str:
        fields = cron.lower().split()
        named = dict(zip(CRON, fields, strict=False))
        wrong = [name for name, field in named.items() if not re.fullmatch(CRON[name], field)]
        if len(fields) != len(CRON) or wrong:
            said = f"{wrong[0]} {named[wrong[0]]!r} is wrong" if wrong else f"{len(fields)} fields"
            raise at((), f'{cron!r}: {said}; give "{" ".join(CRON)}", such as "0 2 * * *" for 2 a.m.')
        return cron

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise at(
                (), f"no timezone {timezone!r}; give an IANA name such as Europe/Berlin or UTC"
            ) from None
        return timezone
