"""The sections of params.yaml that decide no output of a stage; `hpt_core.config` has all others.

DVC depends on hpt_core.config for the defaults of keys that params.yaml leaves out, and not on this module.
"""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter
from pydantic import Field, field_validator

from hpt_core.config import Config, Fraction
from hpt_core.config.base import error_at

CRON = ("minute", "hour", "day", "month", "weekday")


class TrackingConfig(Config):
    """Names in MLflow."""

    experiment: str
    """Name of the MLflow experiment."""
    registered_model: str
    """Name of the model in MLflow's registry."""


class PromotionConfig(Config):
    """What a candidate must show on the benchmarks to replace the champion."""

    benchmarks: Annotated[list[str], Field(min_length=1)] | None = None
    """Benchmarks on each of which the candidate must be better; null: all that are not out of
    distribution."""
    margin: Annotated[Fraction, Field(lt=1)] = 0.0
    """Gain in accuracy that the whole interval of the paired difference must exceed. The p of that difference
    must be below the level of the attempt as well."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Confidence level of that two-sided interval. One minus it is also the error budget of all attempts
    against one champion: the probability that any candidate that is no better is promoted, over any number
    of nights."""
    out_of_distribution: list[str] = Field(default_factory=list)
    """Benchmarks unlike the training prompts, on which the candidate must not be worse."""
    tolerance: Fraction = 0.02
    """Loss in accuracy, as measured, that is tolerated on an out-of-distribution benchmark."""


class ScheduleConfig(Config):
    """When `hpt serve` runs the flow."""

    cron: str
    """Cron expression of five fields: minute hour day month weekday."""
    timezone: str
    """IANA name of the time zone, such as Europe/Berlin or UTC."""

    @field_validator("cron")
    @classmethod
    def _cron_expression(cls, cron: str) -> str:
        fields = cron.lower().split()
        named = zip(CRON, fields, strict=False)
        wrong = [f"{name} {field!r}" for name, field in named if not _is_cron_field(name, field)]
        if len(fields) != len(CRON) or wrong:
            problem = f"{wrong[0]} is wrong" if wrong else f"{len(fields)} fields"
            raise error_at(
                (), f'{cron!r}: {problem}; give "{" ".join(CRON)}", such as "0 2 * * *" for 2 a.m.'
            )
        return cron

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise error_at(
                (), f"no timezone {timezone!r}; give an IANA name such as Europe/Berlin or UTC"
            ) from None
        return timezone


def _is_cron_field(name: str, field: str) -> bool:
    """Whether Prefect takes `field` as the field `name`: by the parser that it vendors, croniter 6.

    Prefect refuses random (r) and hashed (h) values, which croniter knows.
    """
    alone = " ".join(field if other == name else "*" for other in CRON)
    return not field.startswith(("r", "h")) and croniter.is_valid(alone)
