"""What became of the rows of an expert source: in = kept + dropped, and where its marks are wrong."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

from hpt_core.data.demonstrations.eligibility import Candidate, mark
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.types import Trajectory, Verdict


@dataclass(frozen=True)
class Ingested:
    """What a source gave: trajectories to train on, rows left out, and the counts that add up."""

    trajectories: list[Trajectory]
    rejects: list[Reject]
    report: dict[str, Any]
    """in = kept + the sum of dropped (reason -> count); prompts that got none: prompts_without. content:
    sha256 of what was read. Of a source with marks, how many that were verified are marked right and wrong,
    and how many of those contradict the verifier."""


class IngestReport:
    """Counts as rows come by, and keeps what is kept."""

    def __init__(self) -> None:
        self.read = 0
        self._content = hashlib.sha256()
        self._kept: list[Trajectory] = []
        self._rejects: list[Reject] = []
        self._marks: Counter[tuple[bool, bool]] = Counter()

    def see(self, row: SourceRow | Reject) -> None:
        """A row as it was read, before anything is decided."""
        self.read += 1
        told = sorted(row.values.items()) if isinstance(row, SourceRow) else (row.reason, row.row)
        self._content.update(repr(told).encode())

    def judged(self, row: SourceRow, verdict: Verdict) -> None:
        if (told := mark(row)) is not None and verdict.error is None:
            self._marks[told, verdict.correct] += 1

    def keep(self, candidate: Candidate) -> None:
        self._kept.append(candidate.accepted)

    def drop(self, reject: Reject) -> None:
        self._rejects.append(reject)

    @property
    def content(self) -> str:
        return self._content.hexdigest()

    def close(self, prompts: int, *, marks: bool) -> Ingested:
        """`prompts`: how many there were to write for; `marks`: the source judges its own responses."""
        dropped = Counter(reject.reason for reject in self._rejects)
        assert self.read == len(self._kept) + dropped.total(), "a trajectory went uncounted"
        covered = {trajectory.prompt_id for trajectory in self._kept}
        report: dict[str, Any] = {
            "in": self.read,
            "kept": len(self._kept),
            "dropped": dict(sorted(dropped.items())),
            "prompts": prompts,
            "prompts_without": prompts - len(covered),
            "content": self.content,
        }
        if marks:
            right_wrong, wrong_right = self._marks[True, False], self._marks[False, True]
            report["marked"] = {
                "right": right_wrong + self._marks[True, True],
                "wrong": wrong_right + self._marks[False, False],
            }
            report["contradicts"] = {
                "marked_right_but_wrong": right_wrong,
                "marked_wrong_but_right": wrong_right,
            }
        return Ingested(self._kept, self._rejects, report)
