"""Sources of prompts and of expert trajectories."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from hpt_core.config.base import Config, Positive, PositiveFloat, error_at
from hpt_core.config.benchmarks import BENCHMARKS
from hpt_core.config.columns import MARKS, ColumnEntry, Response, ResponseEntry, check_options
from hpt_core.config.names import label_fault
from hpt_core.config.turns import Turns

TO_FILL_IN = "???"
"""A value that `hpt inspect` writes where the data do not say it; params.yaml with it is refused."""


def _label(name: str) -> str:
    if fault := label_fault(name):
        raise error_at((), fault)
    return name


Label = Annotated[str, AfterValidator(_label)]
"""A name that is shown and recorded, and is no part of a path."""


class PromptSource(Config):
    """One source of prompts. Exactly one of `reasoning_gym`, `file` and `hub` says where its rows are; a
    `benchmark` names its published rows itself."""

    name: Label
    """Name of the source, recorded with each of its prompts."""
    benchmark: str | None = None
    """Name of a published benchmark of `hpt_core/config/benchmarks.py`. It fills in every key that is not
    given, such as `hub`, `revision`, `answer_kind` and `license`. With `file`, a local copy of it is read:
    the hub's parquet, JSONL or CSV, the {prompt, answer} JSON of HPT, or a verl parquet."""
    license: str = "unknown"
    """License of the problems, recorded with each of them."""
    answer_kind: str | None = None
    """How answers are verified: math, gsm8k, choice, exact, reasoning_gym:NAME or the kind of a package.
    Required for `file` and `hub`; a reasoning-gym task implies its own. See docs/verifier.md."""
    limit: Positive | None = None
    """Rows that are read at most, from the top; null: all."""

    reasoning_gym: str | None = None
    """Name of a reasoning-gym task, which generates the problems. It needs `size` and `seed`."""
    size: Positive | None = None
    """Problems that the reasoning-gym task generates."""
    seed: int | None = None
    """Random seed of the reasoning-gym task, independent of the seed of the run."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the reasoning-gym task, such as its difficulty. Their names are those of the task."""

    file: str | None = None
    """Path of a file, a folder or a pattern, or s3://BUCKET/KEY with the AWS_* variables. A pattern is
    such as raw/data/mine/*.jsonl.zst. The suffix gives the format: .jsonl, .ndjson, .json, .csv, .tsv,
    .parquet, .arrow or .feather; texts may be compressed (.gz, .zst, .bz2, .xz, .lz4). Under raw/data it is
    best: DVC runs the stages that read it again when it changes."""
    root: str | None = None
    """Key, or dotted path of keys, of the rows in a JSON file that is one object, such as data or
    result.rows. It holds an array of rows, or an object whose values are rows; `.` is the whole object. null:
    an array of objects is found where there is only one."""
    hub: str | None = None
    """Id of a data set on the Hugging Face hub, such as openai/gsm8k."""
    subset: str | None = None
    """Subset (configuration) of the hub's data set; null: its default."""
    split: str = "train"
    """Split of the hub's data set."""
    revision: str | None = None
    """Commit, tag or branch of the hub's data set; null: the newest."""
    columns: dict[str, ColumnEntry] = Field(default_factory=dict)
    """Our field -> where the source has it, for the fields problem and answer. A dot reaches into an object
    or, with a number, into a list: `prompt.-1.content` is the text of the last turn. A text with braces is a
    template: `"{Body} {Question}"`. A field that is not named here is read from the column of its own
    name."""
    turns: Turns = Turns()
    """How conversations are read; the usual forms need no mention."""

    @model_validator(mode="before")
    @classmethod
    def _complete_benchmark(cls, keys: Any) -> Any:
        name = keys.get("benchmark") if isinstance(keys, dict) else None
        benchmark = BENCHMARKS.get(name) if isinstance(name, str) else None
        return benchmark.complete(keys) if benchmark else keys

    @field_validator("benchmark")
    @classmethod
    def _known_benchmark(cls, name: str | None) -> str | None:
        if name is not None and name not in BENCHMARKS:
            raise ValueError(f"no such benchmark; there are {', '.join(BENCHMARKS)}")
        return name

    @model_validator(mode="after")
    def _one_origin(self) -> PromptSource:
        origins = [key for key in ("reasoning_gym", "file", "hub") if getattr(self, key)]
        if len(origins) != 1:
            raise ValueError(
                f"source {self.name!r}: give exactly one of reasoning_gym, file, hub (or a benchmark, for "
                f"its published rows); got {origins}"
            )
        if self.reasoning_gym and (self.size is None or self.seed is None):
            raise ValueError(f"source {self.name!r}: a reasoning_gym task needs size and seed")
        if not self.reasoning_gym and self.answer_kind is None:
            raise ValueError(
                f"source {self.name!r}: name its answer_kind (math, gsm8k, choice, exact, "
                "reasoning_gym:NAME, or the kind of an installed package)"
            )
        return self

    @field_validator("columns")
    @classmethod
    def _options_fit(cls, columns: dict[str, Any]) -> dict[str, Any]:
        check_options(columns)
        return columns

    @property
    def verifier_kind(self) -> str:
        """`answer_kind`, or the kind of the reasoning-gym task."""
        return self.answer_kind or f"reasoning_gym:{self.reasoning_gym}"


Keep = Literal["shortest", "all"]
"""Which correct samples of a teacher become trajectories: the one with the fewest tokens (the first of
equals), or all of them, for arms to choose from."""
Choice = Literal["shortest", "preferred", "random", "likeliest"]
"""How an arm chooses among several trajectories for a prompt (`hpt_core.data.demonstrations.selection`)."""


Wording = Literal["plain", "marked", "labelled"]
"""How a program's solutions are worded: plain as they are taught by default, marked with other characters
between the same words (and as long), labelled with a label before each line as well (and longer)."""
WRONG = "-wrong"
"""End of the source's name in trajectories that are known to be wrong."""
SOURCE = "source/"
"""Prefix of a source's name in the mix of an arm. DVC's YAML accepts no colon in {braces}."""


class ExpertSource(Config):
    """One source of expert trajectories: a file, a data set of the hub, or code (`kind: program`). The
    verifier judges every trajectory, whatever its source says about it."""

    name: Label
    """Name of the source, recorded with each trajectory and used in mixes as source/NAME."""
    kind: Literal["human", "teacher", "program"]
    """Who wrote the trajectories: people, a model, or code of this project."""
    author: str = "unknown"
    """Who wrote the trajectories in particular, such as MODEL@REVISION. It is a label that is recorded with
    each trajectory and never interpreted, even where it looks like the name of a Python module."""
    license: str = "unknown"
    """License of the trajectories; it must be in `experts.licenses`."""
    wording: Wording = "plain"
    """Wording of a program's solutions: plain, marked or labelled, for studies. Marked has other characters
    between the same words, labelled also a label before each line."""
    file: str | None = None
    """Path, folder, pattern or s3:// address of the data, as in a prompt source."""
    root: str | None = None
    """Key, or dotted path of keys, of the rows in a JSON file that is one object, as in a prompt source."""
    hub: str | None = None
    """Id of a data set on the Hugging Face hub."""
    subset: str | None = None
    """Subset (configuration) of the hub's data set; null: its default."""
    split: str = "train"
    """Split of the hub's data set."""
    revision: str | None = None
    """Commit, tag or branch of the hub's data set; null: the newest."""
    columns: dict[str, ResponseEntry] = Field(default_factory=dict)
    """Our field -> where the source has it, for problem, response, keep, score and author. A dot reaches into
    an object or a list, and a text with braces is a template, as in a prompt source:
    `175b_verification.solution`, `"<think>{thoughts}</think>{answer}"`. A list of them is several responses.

    keep and score are optional marks that the source itself gives a response. keep is a boolean; a response
    with false is dropped unverified. score is a boolean, or a number that means right from 0.5 on; the
    verifier decides, and report.json counts by source where the two disagree.

    A problem or response is a text or a chat of {role, content} or {from, value} turns, of which the user's
    last turn is the problem and the assistant's turn after it the response. A response may also be a list of
    responses, with one mark for all or a list of marks."""
    turns: Turns = Turns()
    """How conversations are read; the usual forms need no mention."""
    rewrite: list[Literal["gsm8k", "think"]] = Field(default_factory=list)
    """Clean-ups that are applied to each response. gsm8k drops <<...>> and turns the answer line into a
    box; think writes `<think>` and `</think>` in place of the tags <|begin_of_thought|> and so on, which
    OpenThoughts and Sky-T1 have around thoughts and solutions."""
    weight: PositiveFloat = 1.0
    """Weight against the other sources of its kind, in an arm with `choose: random`."""
    content: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Expected hash of the source (64 hexadecimal digits), as data/experts/report.json has it under
    `content`. Another one stops the stage experts; null: any is accepted."""

    @model_validator(mode="after")
    def _one_origin(self) -> ExpertSource:
        origins = [key for key in ("file", "hub") if getattr(self, key)]
        if self.kind == "program" and origins:
            raise ValueError(f"expert source {self.name!r}: code writes program trajectories; drop {origins}")
        if self.kind != "program" and len(origins) != 1:
            raise ValueError(f"expert source {self.name!r}: give exactly one of file, hub")
        if self.kind != "program" and self.wording != "plain":
            message = "only a program's solutions have a wording to choose; remove it"
            raise error_at(("wording",), message)
        return self

    @field_validator("columns")
    @classmethod
    def _options_fit(cls, columns: dict[str, Any]) -> dict[str, Any]:
        check_options(columns)
        return columns

    @property
    def responses(self) -> list[Response]:
        """The entries of `response` that have options."""
        entry = self.columns.get("response")
        return [
            each for each in (entry if isinstance(entry, list) else [entry]) if isinstance(each, Response)
        ]

    @property
    def kinds(self) -> set[str]:
        """The kinds of its trajectories: its own, and those of single responses."""
        return {self.kind, *(response.kind for response in self.responses if response.kind)}

    @property
    def has_marks(self) -> bool:
        """Whether the source judges its own responses."""
        return any(each.keep or each.score for each in self.responses) or bool({*MARKS} & self.columns.keys())
