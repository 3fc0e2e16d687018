"""Which prompts are kept."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hpt_core.config.base import Config, Fraction, Positive
from hpt_core.config.benchmarks import BENCHMARKS
from hpt_core.config.data import PromptSource

Script = Literal[
    "Arabic", "Bengali", "Cyrillic", "Devanagari", "Greek", "Han", "Hangul", "Hebrew", "Hiragana", "Katakana",
    "Latin", "Tamil", "Telugu", "Thai",
]  # fmt: skip


class DecontaminationConfig(Config):
    """When a training prompt is a problem of `curate.benchmarks`, numbers aside
    (`hpt_core.data.curation.decontamination`)."""

    gram: Positive = 8
    """Words of a gram."""
    overlap: Annotated[Fraction, Field(gt=0)] = 0.6
    """Share of the shorter text's grams that the other has."""
    min_words: Positive = 8
    """Different words that the shared grams must have: fewer are a turn of phrase. Half as many
    do for texts that are the same but for their numbers, and for the beginning of a problem."""
    max_problems: Positive = 5
    """A gram of more benchmark problems than this is the wording of a task and counts for none."""
    against: list[PromptSource] = Field(default_factory=list)
    """Problems to compare with beside those of `curate.benchmarks`, never to evaluate on: each a registered
    benchmark by its name, a file with a column `problem` by its path, or a source (it needs no answers)."""

    @field_validator("against", mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        return [_compared(entry) for entry in given] if isinstance(given, list) else given


def _compared(given: Any) -> Any:
    if isinstance(given, str):
        given = {"name": given, "benchmark" if given in BENCHMARKS else "file": given}
    if not isinstance(given, dict) or given.keys() & {"benchmark", "reasoning_gym"}:
        return given
    columns = {"problem": "problem"} | (given.get("columns") or {})
    return {"answer_kind": "exact"} | given | {"columns": {"answer": columns["problem"]} | columns}


class CurateConfig(Config):
    """Prompts to train on, a share of them held back for dev, and the benchmarks."""

    train: Annotated[list[PromptSource], Field(min_length=1)]
    dev_size: Positive
    min_problem_chars: Positive = 1
    max_problem_chars: Positive
    scripts: Annotated[list[Script], Field(min_length=1)] | None = None
    """Scripts that the letters of a training problem are in; null: any. Languages of one script, such as
    English and French, are not told apart."""
    near_duplicates: Annotated[Fraction, Field(gt=0)] | None = 0.8
    """Jaccard similarity from which only one is kept of two prompts with the same figures and answer; null:
    both are."""
    decontamination: DecontaminationConfig = DecontaminationConfig()
    benchmarks: Annotated[dict[str, list[PromptSource]], Field(min_length=1)]
    incomplete: dict[str, Positive] = Field(default_factory=dict)
    """Benchmark -> rows that it may be short of because they cannot be read or judged; the others, of
    none."""

    @model_validator(mode="after")
    def _range(self) -> CurateConfig:
        if self.min_problem_chars > self.max_problem_chars:
            raise ValueError(
                f"min_problem_chars {self.min_problem_chars} is above max_problem_chars "
                f"{self.max_problem_chars}; lower the one or raise the other"
            )
        return self

    @model_validator(mode="after")
    def _names(self) -> CurateConfig:
        if unknown := sorted(self.incomplete.keys() - self.benchmarks.keys()):
            raise ValueError(f"incomplete names {unknown}; benchmarks has {list(self.benchmarks)}")
        compared = [source.name for source in self.decontamination.against]
        if twice := sorted(self.benchmarks.keys() & set(compared)):
            raise ValueError(f"decontamination.against repeats {twice} of benchmarks; remove them there")
        return self
