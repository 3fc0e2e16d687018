"""The sections of params.yaml that decide no output of a stage; `hpt_core.config` has all others.

DVC depends on hpt_core.config for the defaults of keys that params.yaml leaves out, and not on this module.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter
from pydantic import Field, field_validator

from hpt_core.config import Config, Fraction
from hpt_core.config.base import PositiveFloat, error_at

CRON = ("minute", "hour", "day", "month", "weekday")
FLOW_POOLS = ("hpt", "hpt-docker", "hpt-kubernetes")
"""The work pools of the flow itself, by type of infrastructure; `pools` gives stages to others."""


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
    """When the flow runs by itself, in `hpt serve` and in the deployments of `hpt deploy`."""

    cron: str
    """Cron expression of five fields: minute hour day month weekday."""
    timezone: str
    """IANA name of the time zone, such as Europe/Berlin or UTC."""
    overlap: Literal["cancel", "queue"] = "cancel"
    """What happens to a run that is due while another one works: cancel or queue. A queued one waits."""
    workers: Annotated[int, Field(ge=1)] = 2
    """Stages that a run of a deployment runs side by side."""
    retries: Annotated[int, Field(ge=0)] = 1
    """Times that a run of a deployment repeats a stage that failed. A repeat goes on from the checkpoints and
    gives the same bytes."""

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


class AlertsConfig(Config):
    """When a Prefect server that `hpt deploy` has set up declares a run dead, and when it sends an alert."""

    crashed_after_s: Annotated[int, Field(ge=60, le=150)] = 120
    """Seconds without a heartbeat after which a run counts as crashed and its slot is free. A run sends a
    heartbeat every 30 seconds."""
    start_limit_s: Annotated[int, Field(ge=60)] = 150
    """Seconds that a run may take to start once a worker has accepted it; then it counts as crashed. A pool
    that pulls container images may need more."""
    late_after_s: Annotated[int, Field(ge=60)] = 900
    """Seconds after which a due run that no worker has accepted is an alert."""
    missed_night_h: Annotated[float, Field(gt=0)] = 6.0
    """Hours beyond the longest pause of the schedule without a completed night, after which that is an
    alert."""


class RetentionConfig(Config):
    """How long the deployment `retention` keeps what no result depends on."""

    flow_runs_days: Annotated[int, Field(ge=1)] = 90
    """Days that Prefect keeps the runs of this project, with their logs."""
    deleted_mlflow_runs_days: Annotated[int, Field(ge=1)] = 30
    """Days that MLflow keeps a run that somebody has deleted. Nothing else in MLflow is ever removed, since
    lineage needs it."""


class InboxConfig(Config):
    """A place in an S3 bucket where people put new files of demonstrations. Address and credentials of the
    server are in the AWS_* variables."""

    url: str
    """s3://BUCKET/PREFIX. A file that is uploaded as PREFIX/SOURCE/NAME is taken for the source of that name,
    whose `file` is a folder or a pattern below raw/data. docs/data.md describes the folders beside it."""
    settle_s: Annotated[float, Field(ge=0)] = 60
    """Seconds after its upload for which a file that cannot be read is left alone. It may be written again in
    that time; afterwards it goes to quarantine."""
    claim_s: Annotated[float, Field(ge=1)] = 600
    """Seconds after which the claim of a poll that was killed expires. Another poll then takes the file over;
    a poll that works renews its claim."""
    max_gib: PositiveFloat = 16
    """Size of the largest file that is taken, in GiB."""

    @field_validator("url")
    @classmethod
    def _names_a_bucket(cls, url: str) -> str:
        match = re.fullmatch(
            r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?P<prefix>(/[\w.=+@-]+)*)/?", url
        )
        if match is None or any(part in (".", "..") for part in match["prefix"].split("/")):
            raise error_at((), f"{url!r} is no address of a bucket; give s3://BUCKET/PREFIX")
        return url.rstrip("/")


def _is_cron_field(name: str, field: str) -> bool:
    """Whether Prefect takes `field` as the field `name`: by the parser that it vendors, croniter 6.

    Prefect refuses random (r) and hashed (h) values, which croniter knows.
    """
    alone = " ".join(field if other == name else "*" for other in CRON)
    return not field.startswith(("r", "h")) and croniter.is_valid(alone)
