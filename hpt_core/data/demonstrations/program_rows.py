"""The solutions of programs as rows of a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from hpt_core.config import ExpertSource
from hpt_core.data.demonstrations.program_solutions import AUTHOR, program_solution
from hpt_core.data.reading.records import Record, Reject, SourceRow
from hpt_core.seeds import derive
from hpt_core.types import Prompt


def program_rows(source: ExpertSource, prompts: Iterable[Prompt]) -> Iterator[SourceRow | Reject]:
    """A solution of each prompt, or why there is none."""
    for number, prompt in enumerate(prompts, 1):
        row = _row(source, prompt, number)
        response = program_solution(prompt, source.wording)
        if response is None:
            yield row.reject("no_writer", f"{AUTHOR} writes no solution of {prompt.answer_kind}")
        else:
            yield with_response(row, response)


def rows_with_slips(source: ExpertSource, prompts: Iterable[Prompt]) -> Iterator[SourceRow]:
    """A wrong solution of each prompt that can have one; which step is wrong depends on the prompt alone."""
    for number, prompt in enumerate(prompts, 1):
        response = program_solution(prompt, source.wording, derive(0, "slip", prompt.prompt_id))
        if response is not None:
            yield with_response(_row(source, prompt, number), response)


def with_response(row: SourceRow, response: str) -> SourceRow:
    """The row with this response."""
    return replace(row, values={**row.values, "response": response})


def _row(source: ExpertSource, prompt: Prompt, number: int) -> SourceRow:
    record: Record = {
        "prompt_id": prompt.prompt_id,
        "answer_kind": prompt.answer_kind,
        "problem": prompt.problem,
    }
    return SourceRow(source.name, "train.parquet", number, {"problem": prompt.problem}, record)
