"""Expert trajectories: matched to a prompt, verified whatever their source claims, with provenance."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hpt_core.config import ExpertSource
from hpt_core.data.problems import prompt_id
from hpt_core.data.progress import watched
from hpt_core.data.sources import Reject, Row, read_rows
from hpt_core.data.worked import worked_solution
from hpt_core.protocols import Verifier
from hpt_core.types import ExpertKind, Prompt, Trajectory, Verdict

VERIFY_BATCH = 256
"""Responses per call of the verifier: the step of the progress bar."""


@dataclass(frozen=True)
class Ingested:
    """What a source gave: trajectories to train on, rows left out, and the counts that add up."""

    trajectories: list[Trajectory]
    rejects: list[Reject]
    report: dict[str, Any]
    """in = kept + the sum of dropped (reason -> count); prompts that got none: prompts_without."""


@dataclass(frozen=True)
class Candidate:
    """A trajectory on its way in, and the row that it is turned away as."""

    row: Row
    prompt: Prompt
    trajectory: Trajectory

    @property
    def accepted(self) -> Trajectory:
        """The trajectory once the verifier has called it correct."""
        return replace(self.trajectory, verified=True)


@dataclass
class Admission:
    """What holds for every trajectory, whoever wrote it: license, length, no repeats."""

    count_tokens: Callable[[str], int]
    """Length under the policy's tokenizer, end-of-turn token included."""
    licenses: Sequence[str]
    max_tokens: int
    seen: dict[tuple[str, str], str] = field(default_factory=dict)

    def admit(
        self, row: Row, prompt: Prompt, kind: ExpertKind, author: str, license: str, sampling: str = "{}"
    ) -> Candidate | Reject:
        """The row's response as an unverified trajectory, or why not."""
        response = row.values["response"].strip()
        if not response:
            return row.reject("empty_response", "the response is empty")
        if license not in self.licenses:
            return row.reject("license", f"{license!r} is not in experts.licenses {list(self.licenses)}")
        length = self.count_tokens(response)
        if length > self.max_tokens:
            return row.reject("too_long", f"{length} tokens; experts.max_tokens is {self.max_tokens}")
        digest = hashlib.sha256(response.encode()).hexdigest()
        if first := self.seen.get((prompt.prompt_id, digest)):
            return row.reject("duplicate", f"the same response to the same prompt stands at {first}")
        self.seen[prompt.prompt_id, digest] = row.where
        trajectory = Trajectory(
            trajectory_id=trajectory_id(prompt.prompt_id, kind, row.source, response),
            prompt_id=prompt.prompt_id,
            response=response,
            kind=kind,
            source=row.source,
            author=author,
            license=license,
            sampling=sampling,
            verified=False,
            n_tokens=length,
            sha256=digest,
        )
        return Candidate(row, prompt, trajectory)


def trajectory_id(prompt: str, kind: str, source: str, response: str) -> str:
    """First 16 hex digits of the sha256 of what makes a trajectory itself."""
    return hashlib.sha256("\0".join((prompt, kind, source, response)).encode()).hexdigest()[:16]


def ingest(
    source: ExpertSource,
    prompts: Iterable[Prompt],
    verifier: Verifier,
    count_tokens: Callable[[str], int],
    licenses: Sequence[str],
    max_tokens: int,
) -> Ingested:
    """The trajectories of `source` for `prompts`, each verified here.

    `count_tokens` as in `Admission`. Raises InputError where the source itself cannot be read.
    """
    known = {prompt.prompt_id: prompt for prompt in prompts}
    rows = _program_rows(source, known.values()) if source.kind == "program" else read_rows(source)
    admission = Admission(count_tokens, licenses, max_tokens)
    candidates: list[Candidate] = []
    rejects: list[Reject] = []
    for row in watched(rows, f"experts {source.name}"):
        result = row if isinstance(row, Reject) else _take(row, source, known, admission)
        if isinstance(result, Reject):
            rejects.append(result)
        else:
            candidates.append(result)
    read, kept = len(candidates) + len(rejects), []
    for candidate, verdict in zip(candidates, _verify(candidates, verifier, source.name), strict=True):
        if trouble := judge(candidate.row, candidate.prompt, verdict):
            rejects.append(trouble)
        else:
            kept.append(candidate)
    counts = report(read, kept, rejects, len(known))
    return Ingested([candidate.accepted for candidate in kept], rejects, counts)


def _take(
    row: Row, source: ExpertSource, known: Mapping[str, Prompt], admission: Admission
) -> Candidate | Reject:
    prompt = known.get(prompt_id(row.values["problem"]))
    if prompt is None:
        return row.reject("unknown_prompt", "no training prompt has this problem; add it to curate.train")
    if row.values.get("keep") is False:
        return row.reject("marked_wrong_by_source", f"{source.columns['keep']!r} is false")
    response = row.values["response"]
    for name in source.rewrite:
        response = REWRITES[name](response)
    row = replace(row, values=row.values | {"response": response})
    return admission.admit(row, prompt, source.kind, source.author, source.license)


def _program_rows(source: ExpertSource, prompts: Iterable[Prompt]) -> Iterator[Row | Reject]:
    for number, prompt in enumerate(prompts, 1):
        record = {"prompt_id": prompt.prompt_id, "answer_kind": prompt.answer_kind, "problem": prompt.problem}
        row = Row(source.name, "train.parquet", number, {"problem": prompt.problem}, record)
        response = worked_solution(prompt)
        if response is None:
            yield row.reject("no_writer", f"hpt_core.data.worked writes no solution of {prompt.answer_kind}")
        else:
            yield replace(row, values=row.values | {"response": response})


def _verify(candidates: Sequence[Candidate], verifier: Verifier, name: str) -> list[Verdict]:
    items = [(c.trajectory.response, c.prompt.answer, c.prompt.answer_kind) for c in candidates]
    starts = range(0, len(items), VERIFY_BATCH)
    verdicts: list[Verdict] = []
    for start in watched(starts, f"verify {name}"):
        verdicts += verifier.verify(items[start : start + VERIFY_BATCH])
    return verdicts


def judge(row: Row, prompt: Prompt, verdict: Verdict) -> Reject | None:
    """The row's reject where the verifier does not call its response correct."""
    if verdict.error is not None:
        return row.reject("verifier_error", verdict.error)
    if not verdict.correct:
        detail = f"its answer is {verdict.extracted!r}, the reference {prompt.answer!r}"
        return row.reject("rejected_by_verifier", detail)
    return None


def report(read: int, kept: Sequence[Candidate], rejects: Sequence[Reject], prompts: int) -> dict[str, Any]:
    """Counts of a source: rows read, kept and dropped by reason; prompts that got none."""
    dropped = Counter(reject.reason for reject in rejects)
    assert read == len(kept) + dropped.total(), "a trajectory went uncounted"
    covered = {candidate.prompt.prompt_id for candidate in kept}
    return {
        "in": read,
        "kept": len(kept),
        "dropped": dict(sorted(dropped.items())),
        "prompts": prompts,
        "prompts_without": prompts - len(covered),
    }


_CALCULATION = re.compile(r"<<[^<>]*>>")
_ANSWER_LINE = re.compile(r"(?:####|A:)\s*\$?(?P<answer>\S.*?)\.?")


def gsm8k_rewrite(response: str) -> str:
    """GSM8K's mark-up as plain text: <<48/2=24>> goes, "#### 72" or "A: 72" becomes a sentence
    with a box. Without such a last line nothing is boxed, and the verifier decides."""
    lines = [line.rstrip() for line in _CALCULATION.sub("", response).strip().splitlines()]
    if lines and (marked := _ANSWER_LINE.fullmatch(lines[-1].strip())):
        lines[-1] = f"The answer is \\boxed{{{marked['answer']}}}."
    return "\n".join(lines)


REWRITES: dict[str, Callable[[str], str]] = {"gsm8k": gsm8k_rewrite}
"""Named clean-ups of a response, applied before it is verified."""
