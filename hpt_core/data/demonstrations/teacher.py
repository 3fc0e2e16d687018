"""Verified samples of a teacher -> rows to keep them in -> trajectories."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpt_core.config import Keep, Sampling
from hpt_core.data.demonstrations.eligibility import Candidate, Eligibility, Provenance, judge
from hpt_core.data.demonstrations.report import Ingested, IngestReport
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.types import Completion, Prompt, Responses, Verdict


@dataclass(frozen=True)
class Teacher:
    """Who was sampled, and how."""

    name: str
    """Of the source, as it stands in the trajectories."""
    author: str
    """model@revision, or model@hash of its weights."""
    license: str
    sampling: Sampling
    seed: int
    chat_template: str
    """Which one the problem was put in: its hash, or that it is the server's own."""
    system_prompt: str | None = None
    keep: Keep = "shortest"


def from_samples(
    responses: Sequence[Responses], asked: int, teacher: Teacher, admission: Eligibility
) -> Ingested:
    """The correct samples that `teacher.keep` says; `asked` is how many prompts there were.

    A sample cut off by its length is not taken even when correct: it never learnt to stop. The
    report counts samples (in = kept + dropped) and the prompts that no sample solved.
    """
    tally = IngestReport()
    for given in responses:
        correct: list[Candidate] = []
        for sample, (completion, verdict) in enumerate(zip(given.completions, given.verdicts, strict=True)):
            row = _row(given.prompt, sample, completion, teacher)
            tally.see(row)
            result = _take(row, given.prompt, completion, verdict, teacher, admission)
            if isinstance(result, Reject):
                tally.drop(result)
            else:
                correct.append(result)
        kept = KEPT[teacher.keep](correct)
        for one in correct:
            if one in kept:
                tally.keep(one)
            else:
                detail = f"{one.trajectory.n_tokens} tokens; a shorter one is correct"
                tally.drop(one.row.reject("not_shortest", detail))
    ingested = tally.close(asked, marks=False)
    return replace(ingested, report=ingested.report | {"selection": f"{teacher.keep}_correct"})


def _shortest(correct: Sequence[Candidate]) -> Sequence[Candidate]:
    # sorted() is stable: of equals the lowest sample.
    return sorted(correct, key=lambda one: one.trajectory.n_tokens)[:1]


KEPT: dict[Keep, Callable[[Sequence[Candidate]], Sequence[Candidate]]] = {
    "shortest": _shortest,
    "all": lambda correct: correct,
}


def _row(prompt: Prompt, sample: int, completion: Completion, teacher: Teacher) -> SourceRow:
    record = {"prompt_id": prompt.prompt_id, "sample": sample, "response": completion.response}
    values = {"problem": prompt.problem, "response": completion.response}
    return SourceRow(teacher.name, f"teacher:{teacher.author}", 0, values, record, sample)


def _take(
    row: SourceRow,
    prompt: Prompt,
    completion: Completion,
    verdict: Verdict,
    teacher: Teacher,
    admission: Eligibility,
) -> Candidate | Reject:
    if completion.error is not None:
        return row.reject("no_response", completion.error)
    if trouble := judge(row, prompt, verdict):
        return trouble
    if completion.finish_reason == "length":
        limit = teacher.sampling.max_new_tokens
        return row.reject("truncated", f"cut after {completion.n_tokens} tokens; max_new_tokens is {limit}")
    sampling = {
        "temperature": teacher.sampling.temperature,
        "top_p": teacher.sampling.top_p,
        "max_new_tokens": teacher.sampling.max_new_tokens,
        "seed": teacher.seed,
        "sample": row.sample,
        "chat_template": teacher.chat_template,
        "system_prompt": teacher.system_prompt,
    }
    provenance = Provenance("teacher", teacher.author, teacher.license)
    return admission.admit(row, prompt, provenance, json.dumps(sampling, sort_keys=True))


def as_rows(given: Responses) -> list[dict[str, Any]]:
    """As rows of `tables.TEACHING`."""
    return [
        {
            "prompt_id": given.prompt.prompt_id,
            "sample": sample,
            "response": completion.response,
            "finish_reason": completion.finish_reason,
            "n_tokens": completion.n_tokens,
            "extracted": verdict.extracted,
            "correct": verdict.correct,
            "no_response": completion.error,
            "no_verdict": verdict.error,
        }
        for sample, (completion, verdict) in enumerate(zip(given.completions, given.verdicts, strict=True))
    ]


def from_rows(prompt: Prompt, rows: Sequence[Mapping[str, Any]]) -> Responses:
    """What `as_rows` was given, less the tokens themselves."""
    completions = [
        Completion(
            row["response"],
            token_ids=(),
            logprobs=(),
            finish_reason=row["finish_reason"],
            billed=row["n_tokens"],
            error=row["no_response"],
        )
        for row in rows
    ]
    verdicts = [Verdict(row["correct"], row["extracted"], row["no_verdict"]) for row in rows]
    return Responses(prompt, completions, verdicts)
