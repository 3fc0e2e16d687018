"""Whether a source entry reads the sampled rows, and whether the verifier accepts what it reads.

The rows go through the reader of the stages, and the answers through the verifier that rewards responses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from hpt_core.config import ExpertSource, PromptSource
from hpt_core.config.data import TO_FILL_IN
from hpt_core.data.curation.filters import reference_answer
from hpt_core.data.demonstrations.ingest import REWRITES
from hpt_core.data.inspection.entries import SourceEntry
from hpt_core.data.problems import prompt_id
from hpt_core.data.reading.formats import PlacedRecord
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import rows_of
from hpt_core.protocols import Verifier
from hpt_core.types import Gold
from hpt_core.verifier.gold_check import refusals

MOST_RESPONSES = 50
"""Responses of an entry that are judged: reasoning traces are long, and so many give an impression."""


@dataclass
class Trial:
    """What an entry reads of the sampled rows."""

    entry: SourceEntry
    rows: list[SourceRow] = field(default_factory=list)
    """The rows that are read, or responses where a row has several."""
    unread: Counter[str] = field(default_factory=Counter)
    """Reason -> number of rows that are not read."""
    examples: dict[str, str] = field(default_factory=dict)
    """Reason -> place and detail of the first such row."""
    accepted: int = 0
    """References that the verifier accepts as their own answers, or responses that it finds correct."""
    judged: int = 0
    refused: list[str] = field(default_factory=list)
    """What the verifier does not accept though its `score` does not say so, with the place and the reason."""
    agreed: int = 0
    """Judged responses of which `score` says what the verifier says."""
    marked: int = 0
    """Judged responses that have a `score`."""
    left_out: int = 0
    """Responses that `keep` drops unverified."""

    @property
    def unused_turns(self) -> list[str]:
        """The turns of conversations that are not read: system, earlier, later, other roles."""
        return sorted({turn for row in self.rows for turn in row.unused_turns})

    def drop(self, reason: str, example: str) -> None:
        self.unread[reason] += 1
        self.examples.setdefault(reason, example)


References = dict[str, tuple[str, str]]
"""prompt_id -> (reference answer, kind)."""


def try_entries(
    entries: Sequence[SourceEntry], records: Sequence[PlacedRecord], verifier: Verifier
) -> Iterator[Trial]:
    """The trial of each entry. The references of the prompts judge the responses of the experts."""
    references: References = {}
    for entry in entries:
        trial = Trial(entry)
        source = _source(entry)
        for row in rows_of(source, records):
            if isinstance(row, Reject):
                trial.drop(row.reason, f"row {row.line}: {row.detail}")
            else:
                trial.rows.append(row)
        if isinstance(source, PromptSource):
            _check_references(trial, source, references, verifier)
        else:
            _check_responses(trial, references, verifier)
        yield trial


def _source(entry: SourceEntry) -> PromptSource | ExpertSource:
    """The entry as the stages take it, with words in the place of what has to be filled in."""
    keys: dict[str, Any] = {
        key: "unknown" if value == TO_FILL_IN else value for key, value in entry.keys.items()
    }
    return PromptSource(**keys) if entry.section == "curate.train" else ExpertSource(**keys)


def _check_references(trial: Trial, source: PromptSource, references: References, verifier: Verifier) -> None:
    kind = source.verifier_kind
    readable: list[SourceRow] = []
    golds: list[Gold] = []
    for row in trial.rows:
        answer, fault = reference_answer(row, source, kind)
        if fault:
            trial.drop("unreadable_answer", f"{place_of(row)}: {fault}")
            continue
        readable.append(row)
        references[prompt_id(row.values["problem"])] = answer, kind
        golds.append(Gold(place_of(row), answer, kind))
    trial.rows = readable
    refused = {refusal.gold.where: refusal for refusal in refusals(golds, verifier)}
    trial.judged, trial.accepted = len(golds), len(golds) - len(refused)
    trial.refused = [
        f"{where}: {refusal.gold.answer!r} {refusal.form}: {refusal.reason}"
        for where, refusal in refused.items()
    ]


def _check_responses(trial: Trial, references: References, verifier: Verifier) -> None:
    kept = [row for row in trial.rows if row.values.get("keep") is not False]
    trial.left_out = len(trial.rows) - len(kept)
    known = [
        (row, *references[key]) for row in kept if (key := prompt_id(row.values["problem"])) in references
    ][:MOST_RESPONSES]
    rewrites = [REWRITES[name] for name in trial.entry.keys.get("rewrite", [])]
    responses = [
        reduce(lambda text, rewrite: rewrite(text), rewrites, row.values["response"]) for row, *_ in known
    ]
    items = [(text, answer, kind) for text, (_, answer, kind) in zip(responses, known, strict=True)]
    verdicts = verifier.verify(items)
    for (row, answer, _), verdict in zip(known, verdicts, strict=True):
        score = row.values.get("score")
        trial.judged += 1
        trial.accepted += verdict.correct
        trial.marked += score is not None
        trial.agreed += score is verdict.correct
        if not verdict.correct and score is not False:
            why = verdict.error or f"it states {verdict.extracted!r}, the reference is {answer!r}"
            trial.refused.append(f"{place_of(row)}: {why}")


def place_of(row: SourceRow) -> str:
    """The line, and the sample in it, for messages about one file."""
    return f"line {row.line}" + ("" if row.sample is None else f", sample {row.sample}")
