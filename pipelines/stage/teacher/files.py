"""data/teacher: what the teacher wrote, as the stage `teacher_responses` leaves it to the stage `experts`.

    responses.parquet    the responses with their verdicts, hardest prompt first
    quarantine.parquet   the prompts that were too long to sample
    teacher.json         who wrote the responses and how; null without a teacher

The license, and which correct responses are kept, are no part of it: `experts` has them from params.yaml.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypedDict, cast

from hpt_core import tables
from hpt_core.data.demonstrations.teacher_rows import as_rows, from_rows
from hpt_core.errors import InputError
from hpt_core.files import command, read_json, write_json
from hpt_core.tables import QuarantineRow
from hpt_core.types import Prompt, Responses

RESPONSES, TOO_LONG, AUTHORSHIP = "responses.parquet", "quarantine.parquet", "teacher.json"


class Authorship(TypedDict):
    """Who wrote the responses, and what the sampling parameters of params.yaml do not say of how."""

    author: str
    chat_template: str
    system_prompt: str | None
    not_sent: list[str]
    """Sampling parameters that the server does not take."""
    more_parameters: dict[str, object]


@dataclass(frozen=True)
class TeacherSamples:
    """Verified responses of the teacher, hardest prompt first."""

    responses: list[Responses]
    authorship: Authorship
    too_long: list[QuarantineRow]
    """Quarantine rows of the prompts that were too long to sample, in the order of the prompts."""
    unasked: int
    """Prompts for which the budget did not suffice."""

    @property
    def tokens(self) -> int:
        """Generated tokens, as charged to the budget."""
        return sum(c.n_tokens for responses in self.responses for c in responses.completions)


def write_samples(samples: TeacherSamples | None, out: Path) -> None:
    """Write the samples, or empty tables where there is no teacher, to the folder `out`."""
    responses = samples.responses if samples else []
    rows = (row for each in responses for row in as_rows(each))
    tables.write(out / RESPONSES, rows, tables.TEACHER_RESPONSES)
    tables.write(out / TOO_LONG, samples.too_long if samples else [], tables.QUARANTINE)
    about = {"authorship": samples.authorship, "unasked": samples.unasked} if samples else None
    write_json(out / AUTHORSHIP, {"teacher": about})


def read_samples(folder: Path, prompts: Sequence[Prompt]) -> TeacherSamples:
    """The samples in `folder`. Raises InputError where a file is missing or belongs to other prompts."""
    about = read_json(folder / AUTHORSHIP)["teacher"]
    by_id = {prompt.prompt_id: prompt for prompt in prompts}
    rows = tables.read(folder / RESPONSES, tables.TEACHER_RESPONSES)
    if about is None or not by_id.keys() >= {row["prompt_id"] for row in rows}:
        problem = "there was no teacher" if about is None else "its prompts are not the training prompts"
        raise InputError(f"{folder / RESPONSES}: {problem}; {command(folder / RESPONSES)}")
    return TeacherSamples(
        [
            from_rows(by_id[name], list(group))
            for name, group in groupby(rows, lambda row: str(row["prompt_id"]))
        ],
        about["authorship"],
        cast(list[QuarantineRow], tables.read(folder / TOO_LONG, tables.QUARANTINE)),
        about["unasked"],
    )
