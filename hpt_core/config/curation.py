"""Parameters of curation: sources, filters, decontamination and benchmarks."""

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
    """When a training prompt counts as a benchmark problem, with numbers ignored
    (`hpt_core.data.curation.decontamination`)."""

    gram: Positive = 8
    """Words in one n-gram."""
    overlap: Annotated[Fraction, Field(gt=0)] = 0.6
    """Share of the shorter text's n-grams that the other text must contain for a match."""
    min_words: Positive = 8
    """Different words that the shared n-grams must have for a match. Fewer are a common turn of phrase. Half
    as many are enough for texts that differ only in their numbers, and for the beginning of a problem."""
    max_problems: Positive = 5
    """Benchmark problems that may share an n-gram. An n-gram of more problems is the wording of a task and
    counts for no match."""
    against: list[PromptSource] = Field(default_factory=list)
    """Further problems that are never trained on, beside `curate.benchmarks`. They are never evaluated. Each
    entry is the name of a registered benchmark, the path of a file with a column `problem`, or a prompt
    source (which needs no answers)."""

    @field_validator("against", mode="before")
    @classmethod
    def _expand_names(cls, entries: Any) -> Any:
        return [_problem_source(entry) for entry in entries] if isinstance(entries, list) else entries


def _problem_source(entry: Any) -> Any:
    """The keys of a source of problems without answers; the name of a benchmark or of a file is enough."""
    if isinstance(entry, str):
        entry = {"name": entry, "benchmark" if entry in BENCHMARKS else "file": entry}
    if not isinstance(entry, dict) or entry.keys() & {"benchmark", "reasoning_gym"}:
        return entry
    columns = {"problem": "problem"} | (entry.get("columns") or {})
    return {"answer_kind": "exact"} | entry | {"columns": {"answer": columns["problem"]} | columns}


class CurateConfig(Config):
    """Training prompts, the dev prompts held back from them, and the benchmarks."""

    train: Annotated[list[PromptSource], Field(min_length=1)]
    """Sources of training prompts, one per line: reasoning_gym, file, hub or benchmark."""
    dev_size: Positive
    """Training prompts held back as the dev set. Greedy evaluation on them watches training. No benchmark
    ever steers anything."""
    min_problem_chars: Positive = 1
    """Shortest training problem, in characters; a shorter one is quarantined. Benchmark problems are never
    filtered."""
    max_problem_chars: Positive
    """Longest training problem, in characters; a longer one is quarantined. Benchmark problems are never
    filtered."""
    scripts: Annotated[list[Script], Field(min_length=1)] | None = None
    """Scripts that 90% of a training problem's letters must be in, such as [Latin]; null: any. Languages of
    one script, such as English and French, are not distinguished."""
    near_duplicates: Annotated[Fraction, Field(gt=0)] | None = 0.8
    """Jaccard similarity from which two prompts with the same numbers and answer are duplicates; null: never.
    One of two duplicates is kept."""
    decontamination: DecontaminationConfig = DecontaminationConfig()
    """When a training prompt counts as a benchmark problem and is removed. Its numbers are ignored, so a
    benchmark problem with other numbers is found too, as is one that is cut short or embedded in a longer
    prompt."""
    benchmarks: Annotated[dict[str, list[PromptSource]], Field(min_length=1)]
    """Benchmark name -> its sources; none of these problems is ever trained on. `{name: aime24, benchmark:
    aime24}` is a published benchmark; with `file`, a local copy of it is read."""
    incomplete: dict[str, Positive] = Field(default_factory=dict)
    """Benchmark name -> rows that may be missing because they cannot be read or verified. Any further missing
    row stops curation, since a score on a part is the score of another benchmark. A benchmark that is not
    named here may miss none."""

    @model_validator(mode="after")
    def _lengths_are_a_range(self) -> CurateConfig:
        if self.min_problem_chars > self.max_problem_chars:
            raise ValueError(
                f"min_problem_chars {self.min_problem_chars} is above max_problem_chars "
                f"{self.max_problem_chars}; lower the one or raise the other"
            )
        return self

    @model_validator(mode="after")
    def _names_are_benchmarks(self) -> CurateConfig:
        if unknown := sorted(self.incomplete.keys() - self.benchmarks.keys()):
            raise ValueError(f"incomplete names {unknown}; benchmarks has {list(self.benchmarks)}")
        compared = [source.name for source in self.decontamination.against]
        if repeated := sorted(self.benchmarks.keys() & set(compared)):
            raise ValueError(f"decontamination.against repeats {repeated} of benchmarks; remove them there")
        return self
