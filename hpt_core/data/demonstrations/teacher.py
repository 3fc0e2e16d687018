"""Verified samples of a teacher as trajectories."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hpt_core.config import Keep, Sampling
from hpt_core.data.demonstrations.eligibility import Candidate, Eligibility, Provenance, verdict_reject
from hpt_core.data.demonstrations.report import Ingested, IngestReport
from hpt_core.data.reading.records import Record, Reject, RowValues, SourceRow
from hpt_core.types import Completion, Prompt, Responses, Verdict


@dataclass(frozen=True)
class Teacher:
    """The model that was sampled, and how."""

    name: str
    """The name of the source in the trajectories."""
    author: str
    """model@revision, or model@hash of its weights."""
    license: str
    sampling: Sampling
    seed: int
    chat_template: str
    """The hash of the chat template, or a note that the server applied its own."""
    system_prompt: str | None = None
    keep: Keep = "shortest"
    not_sent: frozenset[str] = frozenset()
    """Those of temperature, top_p, max_new_tokens and seed that the server does not take: null."""
    more_parameters: Mapping[str, Any] = field(default_factory=dict)
    """Further parameters of the server."""


def from_samples(
    responses: Sequence[Responses],
    prompts: int,
    teacher: Teacher,
    eligibility: Eligibility,
    wrong: bool = False,
) -> Ingested:
    """The correct samples that `teacher.keep` selects; `prompts` is the number of training prompts.

    wrong: keep the samples that the verifier rejects, as wrong ones.

    A sample that its length limit cut off is dropped even if correct, because it has no end-of-turn token to
    learn from. The report counts samples (in = kept + dropped) and the prompts that no sample solved.
    """
    report = IngestReport()
    for sampled in responses:
        correct: list[Candidate] = []
        for sample, (completion, verdict) in enumerate(
            zip(sampled.completions, sampled.verdicts, strict=True)
        ):
            row = _row(sampled.prompt, sample, completion, teacher)
            report.count_read(row)
            eligible = partial(_candidate, row, sampled.prompt, completion, teacher, eligibility)
            if reject := _unusable(row, sampled.prompt, completion, verdict):
                report.drop(reject)
                if wrong and reject.reason == "rejected_by_verifier":
                    mistaken = eligible()
                    if isinstance(mistaken, Candidate):
                        report.keep_wrong(mistaken)
            elif isinstance(result := eligible(), Reject):
                report.drop(result)
            else:
                correct.append(result)
        kept = KEEP_RULES[teacher.keep](correct)
        for candidate in correct:
            if candidate in kept:
                report.keep(candidate)
            else:
                detail = f"{candidate.trajectory.n_tokens} tokens; a shorter one is correct"
                report.drop(candidate.row.reject("not_shortest", detail))
    ingested = report.close(prompts, marks=False)
    ingested.report["selection"] = f"{teacher.keep}_correct"
    return ingested


def _shortest(correct: Sequence[Candidate]) -> Sequence[Candidate]:
    # sorted() is stable, so that the lowest sample wins among equals.
    return sorted(correct, key=lambda candidate: candidate.trajectory.n_tokens)[:1]


KEEP_RULES: dict[Keep, Callable[[Sequence[Candidate]], Sequence[Candidate]]] = {
    "shortest": _shortest,
    "all": lambda correct: correct,
}
"""Value of `keep` -> selection among the correct samples of a prompt."""


def _row(prompt: Prompt, sample: int, completion: Completion, teacher: Teacher) -> SourceRow:
    record: Record = {"prompt_id": prompt.prompt_id, "sample": sample, "response": completion.response}
    values: RowValues = {"problem": prompt.problem, "response": completion.response}
    return SourceRow(teacher.name, f"teacher:{teacher.author}", 0, values, record, sample)


def _unusable(row: SourceRow, prompt: Prompt, completion: Completion, verdict: Verdict) -> Reject | None:
    """Why there is no correct response, if there is none."""
    if completion.error is not None:
        return row.reject("no_response", completion.error)
    return verdict_reject(row, prompt, verdict)


def _candidate(
    row: SourceRow, prompt: Prompt, completion: Completion, teacher: Teacher, eligibility: Eligibility
) -> Candidate | Reject:
    """The response with its provenance, or why it may not be trained on, whatever its verdict."""
    if completion.finish_reason == "length":
        limit = teacher.sampling.max_new_tokens
        return row.reject("truncated", f"cut after {completion.n_tokens} tokens; max_new_tokens is {limit}")
    parameters = {
        "temperature": teacher.sampling.temperature,
        "top_p": teacher.sampling.top_p,
        "max_new_tokens": teacher.sampling.max_new_tokens,
        "seed": teacher.seed,
    }
    sampling = {
        **teacher.more_parameters,
        **parameters,
        **dict.fromkeys(teacher.not_sent),
        "sample": row.sample,
        "chat_template": teacher.chat_template,
        "system_prompt": teacher.system_prompt,
    }
    provenance = Provenance("teacher", teacher.author, teacher.license)
    return eligibility.check(row, prompt, provenance, json.dumps(sampling, sort_keys=True))
