"""Where prompts and expert trajectories come from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hpt_core.config.base import Config, Positive, PositiveFloat
from hpt_core.config.benchmarks import BENCHMARKS


class PromptSource(Config):
    """Where prompts come from: `reasoning_gym`, `file` or `hub`, of which a `benchmark` says one itself."""

    name: str
    benchmark: str | None = None
    """A name of `hpt_core.config.benchmarks`. It fills in every key that is not given; with `file`, a copy is
    read."""
    license: str = "unknown"
    answer_kind: str | None = None
    """Required for `file` and `hub`; a reasoning-gym task implies its own."""
    limit: Positive | None = None
    """At most this many rows, from the top."""

    reasoning_gym: str | None = None
    size: Positive | None = None
    seed: int | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    file: str | None = None
    """JSONL, a JSON array, CSV or parquet."""
    hub: str | None = None
    """Data set id, read through `datasets`."""
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    """Ours -> theirs: problem, answer. A dot reaches into an object or, with a number, into a list:
    `prompt.-1.content` is the text of the last turn."""

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, given: Any) -> Any:
        name = given.get("benchmark") if isinstance(given, dict) else None
        entry = BENCHMARKS.get(name) if isinstance(name, str) else None
        return entry.fill(given) if entry else given

    @field_validator("benchmark")
    @classmethod
    def _registered(cls, name: str | None) -> str | None:
        if name is not None and name not in BENCHMARKS:
            raise ValueError(f"no such benchmark; there are {', '.join(BENCHMARKS)}")
        return name

    @model_validator(mode="after")
    def _one_origin(self) -> PromptSource:
        given = [key for key in ("reasoning_gym", "file", "hub") if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(
                f"source {self.name!r}: give exactly one of reasoning_gym, file, hub (or a benchmark, for "
                f"its published rows); got {given}"
            )
        if self.reasoning_gym and (self.size is None or self.seed is None):
            raise ValueError(f"source {self.name!r}: a reasoning_gym task needs size and seed")
        if not self.reasoning_gym and self.answer_kind is None:
            raise ValueError(
                f"source {self.name!r}: name its answer_kind (math, gsm8k, choice, exact, reasoning_gym:NAME)"
            )
        return self


Keep = Literal["shortest", "all"]
"""Which correct samples of a teacher become trajectories: the one of the fewest tokens, of equals the first;
or each, for arms to choose from."""
Choice = Literal["shortest", "preferred", "random", "likeliest"]
"""How an arm chooses among several trajectories for a prompt (`hpt_core.data.demonstrations.selection`)."""


class ExpertSource(Config):
    """Where expert trajectories come from: a file, a hub data set, or code (`kind: program`)."""

    name: str
    kind: Literal["human", "teacher", "program"]
    author: str = "unknown"
    license: str = "unknown"
    file: str | None = None
    hub: str | None = None
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    """Ours -> theirs: problem, response and, optionally, the source's own mark of a response: keep (a
    boolean; what it calls false is dropped unverified) or score (a boolean, or a number that says right from
    0.5; the verifier decides, and where it disagrees is counted). A dot reaches into an object or a list, as
    in a prompt source: `175b_verification.solution`.

    The values say what they are: text; a chat ({role, content} each turn), of which the last turn of the
    user is the problem and the assistant's after it the response; or, as response, a list of several, with a
    mark for all or a list of marks."""
    rewrite: list[Literal["gsm8k"]] = Field(default_factory=list)
    """Named clean-ups of the response: gsm8k drops <<...>> and turns the answer line into a box."""
    weight: PositiveFloat = 1.0
    """Against the other sources of its kind, in an arm that chooses at random."""
    content: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """What data/experts/report.json calls the content of the source: if it is another, the stage stops."""

    @model_validator(mode="after")
    def _origin(self) -> ExpertSource:
        given = [key for key in ("file", "hub") if getattr(self, key)]
        if self.kind == "program" and given:
            raise ValueError(f"expert source {self.name!r}: code writes program trajectories; drop {given}")
        if self.kind != "program" and len(given) != 1:
            raise ValueError(f"expert source {self.name!r}: give exactly one of file, hub")
        return self
