"""The conditions on every trajectory, whoever wrote it: license, script, length, no repeats, verified."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from hpt_core.config.data import WRONG
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.scripts import other_script
from hpt_core.errors import InputError
from hpt_core.types import ExpertKind, Prompt, Trajectory, Verdict


@dataclass(frozen=True)
class Provenance:
    """Who wrote the trajectories of a source, under which license, and with which weight."""

    kind: ExpertKind
    author: str
    license: str
    weight: float = 1.0


@dataclass(frozen=True)
class Candidate:
    """A trajectory that is not yet verified, with the row that its reject would show."""

    row: SourceRow
    prompt: Prompt
    trajectory: Trajectory

    @property
    def accepted(self) -> Trajectory:
        """The trajectory once the verifier has judged it correct."""
        return replace(self.trajectory, verified=True)

    @property
    def known_wrong(self) -> Trajectory:
        """The trajectory once the verifier has judged it wrong, under a source's name that says so."""
        t, source = self.trajectory, self.trajectory.source + WRONG
        name = trajectory_id(t.prompt_id, t.kind, source, t.response)
        return replace(t, source=source, trajectory_id=name)


@dataclass
class Eligibility:
    """The check of all sources, in the order of params.yaml; it drops a response that an earlier row has.

    Repeats are dropped within a kind only: a response that a program and a teacher share belongs to both, and
    an arm of one kind must not lose it to the other kind.
    """

    count_tokens: Callable[[str], int]
    """Length under the policy's tokenizer, end-of-turn token included. It raises InputError for a text that
    cannot be encoded, since it spells a control token."""
    licenses: Sequence[str]
    max_tokens: int
    scripts: Sequence[str] | None = None
    """Scripts that the letters of a response must be in; None for any."""
    seen: dict[tuple[str, str, str], tuple[SourceRow, bool | None]] = field(default_factory=dict)
    """(kind, prompt_id, sha256) -> the first such row, without its contents, and its mark."""

    def check(
        self, row: SourceRow, prompt: Prompt, provenance: Provenance, sampling: str = "{}"
    ) -> Candidate | Reject:
        """The row's response as a candidate, or why it is not eligible."""
        response = row.values["response"].strip()
        if not response:
            return row.reject("empty_response", "the response is empty")
        if provenance.license not in self.licenses:
            return row.reject(
                "license", f"{provenance.license!r} is not in experts.licenses {list(self.licenses)}"
            )
        if self.scripts and (fault := other_script(response, self.scripts, "experts.scripts")):
            return row.reject("other_script", fault)
        try:
            length = self.count_tokens(response)
        except InputError as error:
            return row.reject("unencodable", str(error))
        if length > self.max_tokens:
            return row.reject("too_long", f"{length} tokens; experts.max_tokens is {self.max_tokens}")
        digest = hashlib.sha256(response.encode()).hexdigest()
        if repeat := self._repeat_reject(row, (provenance.kind, prompt.prompt_id, digest)):
            return repeat
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

    def _repeat_reject(self, row: SourceRow, key: tuple[str, str, str]) -> Reject | None:
        """The reject of a row whose key was seen before; a row with a new key is remembered."""
        mark = source_mark(row)
        if key not in self.seen:
            self.seen[key] = replace(row, values={}, record={}), mark
            return None
        first, first_mark = self.seen[key]
        where = first.where + ("" if first.source == row.source else f" of source {first.source!r}")
        detail = f"the same response to the same prompt stands at {where}"
        if None not in (mark, first_mark) and mark is not first_mark:
            marks = f"there it is marked {_right_or_wrong(first_mark)}, here {_right_or_wrong(mark)}"
            return row.reject("conflicting_duplicate", f"{detail}; {marks}")
        return row.reject("duplicate", detail)


def verdict_reject(row: SourceRow, prompt: Prompt, verdict: Verdict) -> Reject | None:
    """The reject of a row whose response the verifier does not judge correct; None if it does."""
    if verdict.error is not None:
        return row.reject("verifier_error", verdict.error)
    if not verdict.correct:
        detail = f"its answer is {verdict.extracted!r}, the reference {prompt.answer!r}"
        return row.reject("rejected_by_verifier", detail + ("; marked right" if source_mark(row) else ""))
    return None


def source_mark(row: SourceRow) -> bool | None:
    """Whether the source marks the response as right; None if it has no mark."""
    return row.values.get("score", row.values.get("keep"))


def trajectory_id(prompt: str, kind: str, source: str, response: str) -> str:
    """First 16 hex digits of the sha256 of the fields that identify a trajectory."""
    return hashlib.sha256("\0".join((prompt, kind, source, response)).encode()).hexdigest()[:16]


def _right_or_wrong(mark: bool | None) -> str:
    return "right" if mark else "wrong"
