"""Verified samples of a teacher policy -> trajectories, one per prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from hpt_core.config import Sampling
from hpt_core.data.experts import Admission, Candidate, Ingested, judge, report
from hpt_core.data.sources import Reject, Row
from hpt_core.types import Completion, Prompt, Responses, Verdict

SELECTION = "shortest_correct"
"""How one of several correct samples is chosen: the fewest tokens, then the first sample."""


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


def from_samples(
    responses: Sequence[Responses], asked: int, teacher: Teacher, admission: Admission
) -> Ingested:
    """The shortest correct sample of each prompt; `asked` is how many prompts there were.

    A sample cut off by its length is not taken even when correct: it never learnt to stop. The
    report counts samples (in = kept + dropped) and the prompts that no sample solved.
    """
    kept: list[Candidate] = []
    rejects: list[Reject] = []
    samples = 0
    for given in responses:
        correct: list[Candidate] = []
        for sample, (completion, verdict) in enumerate(zip(given.completions, given.verdicts, strict=True)):
            samples += 1
            result = _take(given.prompt, sample, completion, verdict, teacher, admission)
            if isinstance(result, Reject):
                rejects.append(result)
            else:
                correct.append(result)
        # min takes the first of equals: the lowest sample.
        best = min(correct, key=lambda c: c.trajectory.n_tokens, default=None)
        kept += [best] if best else []
        rejects += [
            other.row.reject("not_shortest", f"{other.trajectory.n_tokens} tokens; a shorter one is correct")
            for other in correct
            if other is not best
        ]
    counts = report(samples, kept, rejects, asked) | {"selection": SELECTION}
    return Ingested([candidate.accepted for candidate in kept], rejects, counts)


def _take(
    prompt: Prompt,
    sample: int,
    completion: Completion,
    verdict: Verdict,
    teacher: Teacher,
    admission: Admission,
) -> Candidate | Reject:
    record = {"prompt_id": prompt.prompt_id, "sample": sample, "response": completion.response}
    values = {"problem": prompt.problem, "response": completion.response}
    row = Row(teacher.name, f"teacher:{teacher.author}", 0, values, record)
    if trouble := judge(row, prompt, verdict):
        return trouble
    if completion.finish_reason == "length":
        return row.reject("truncated", f"cut at max_new_tokens {teacher.sampling.max_new_tokens}")
    sampling = {
        "temperature": teacher.sampling.temperature,
        "top_p": teacher.sampling.top_p,
        "max_new_tokens": teacher.sampling.max_new_tokens,
        "seed": teacher.seed,
        "sample": sample,
    }
    text = json.dumps(sampling, sort_keys=True)
    return admission.admit(row, prompt, "teacher", teacher.author, teacher.license, text)
