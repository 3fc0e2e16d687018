"""What holds for every trajectory, whoever wrote it: license, script, length, no repeats, verified."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.scripts import other_script
from hpt_core.types import ExpertKind, Prompt, Trajectory, Verdict


@dataclass(frozen=True)
class Provenance:
    """What a source says of itself."""

    kind: ExpertKind
    author: str
    license: str
    weight: float = 1.0


@dataclass(frozen=True)
class Candidate:
    """A trajectory on its way in, and the row that it is turned away as."""

    row: SourceRow
    prompt: Prompt
    trajectory: Trajectory

    @property
    def accepted(self) -> Trajectory:
        """The trajectory once the verifier has called it correct."""
        return replace(self.trajectory, verified=True)


@dataclass
class Eligibility:
    """One for all sources, in the order of params.yaml: what an earlier one has said is not taken again.

    Only within a kind. What a program and a teacher say alike is an answer of both, and an arm of one kind
    must not lose it to the other's.
    """

    count_tokens: Callable[[str], int]
    """Length under the policy's tokenizer, end-of-turn token included."""
    licenses: Sequence[str]
    max_tokens: int
    scripts: Sequence[str] | None = None
    """That the letters of a response are in; None for any."""
    seen: dict[tuple[str, str, str], tuple[SourceRow, bool | None]] = field(default_factory=dict)
    """(kind, prompt_id, sha256) -> the row that was first, without its contents, and its mark."""

    def admit(
        self, row: SourceRow, prompt: Prompt, provenance: Provenance, sampling: str = "{}"
    ) -> Candidate | Reject:
        """The row's response as an unverified trajectory, or why not."""
        response = row.values["response"].strip()
        if not response:
            return row.reject("empty_response", "the response is empty")
        if provenance.license not in self.licenses:
            return row.reject(
                "license", f"{provenance.license!r} is not in experts.licenses {list(self.licenses)}"
            )
        if self.scripts and (trouble := other_script(response, self.scripts, "experts.scripts")):
            return row.reject("other_script", trouble)
        length = self.count_tokens(response)
        if length > self.max_tokens:
            return row.reject("too_long", f"{length} tokens; experts.max_tokens is {self.max_tokens}")
        digest = hashlib.sha256(response.encode()).hexdigest()
        if repeated := self._repeated(row, (provenance.kind, prompt.prompt_id, digest)):
            return repeated
        trajectory = Trajectory(
            trajectory_id=trajectory_id(prompt.prompt_id, provenance.kind, row.source, response),
            prompt_id=prompt.prompt_id,
            response=response,
            kind=provenance.kind,
            source=row.source,
            author=provenance.author,
            license=provenance.license,
            sampling=sampling,
            verified=False,
            n_tokens=length,
            sha256=digest,
            weight=provenance.weight,
        )
        return Candidate(row, prompt, trajectory)

    def _repeated(self, row: SourceRow, key: tuple[str, str, str]) -> Reject | None:
        """The row as a reject where the same response to the same prompt came before; else it is noted."""
        told = mark(row)
        if key not in self.seen:
            self.seen[key] = replace(row, values={}, record={}), told
            return None
        first, first_told = self.seen[key]
        where = first.where + ("" if first.source == row.source else f" of source {first.source!r}")
        detail = f"the same response to the same prompt stands at {where}"
        if None not in (told, first_told) and told is not first_told:
            marks = f"there it is marked {_word(first_told)}, here {_word(told)}"
            return row.reject("conflicting_duplicate", f"{detail}; {marks}")
        return row.reject("duplicate", detail)


def judge(row: SourceRow, prompt: Prompt, verdict: Verdict) -> Reject | None:
    """The row's reject where the verifier does not call its response correct."""
    if verdict.error is not None:
        return row.reject("verifier_error", verdict.error)
    if not verdict.correct:
        detail = f"its answer is {verdict.extracted!r}, the reference {prompt.answer!r}"
        return row.reject("rejected_by_verifier", detail + ("; marked right" if mark(row) else ""))
    return None


def mark(row: SourceRow) -> bool | None:
    """What the source says of the response: right, wrong, or nothing."""
    told: bool | None = row.values.get("score", row.values.get("keep"))
    return told


def trajectory_id(prompt: str, kind: str, source: str, response: str) -> str:
    """First 16 hex digits of the sha256 of what makes a trajectory itself."""
    return hashlib.sha256("\0".join((prompt, kind, source, response)).encode()).hexdigest()[:16]


def _word(told: bool | None) -> str:
    return "right" if told else "wrong"
