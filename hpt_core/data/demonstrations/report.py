"""The report of an expert source: in = kept + dropped, and where its marks contradict the verifier."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from hpt_core.data.demonstrations.eligibility import Candidate, source_mark
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.types import Trajectory, Verdict

ExpertCounts = TypedDict(
    "ExpertCounts",
    {
        "in": int,
        "kept": int,
        "dropped": dict[str, int],
        "prompts": int,
        "prompts_without": int,
        "content": str,
        "marked": NotRequired[dict[str, int]],
        "contradicts": NotRequired[dict[str, int]],
        "selection": NotRequired[str],
        "unused_turns": NotRequired[dict[str, int]],
        "wrong": NotRequired[int],
    },
)
"""What report.json says of a source: in = kept + the sum of dropped (reason -> rows).

prompts_without: prompts for which nothing was kept. content: sha256 of the rows as they were read. marked:
how many verified responses a source with marks calls right and wrong. contradicts: how many of those marks
the verifier contradicts. selection: which correct samples of a teacher were kept. unused_turns: rows
with turns of a conversation that are not used, by their place (earlier, later) or role. wrong: how many of
the dropped ones are kept as wrong trajectories.
"""


@dataclass(frozen=True)
class Ingested:
    """The trajectories of a source, the rows that were dropped, and the counts of both."""

    trajectories: list[Trajectory]
    rejects: list[Reject]
    report: ExpertCounts
    wrong: list[Trajectory]
    """Those of the dropped that are kept as wrong ones; none unless they are asked for."""


class IngestReport:
    """Collects the trajectories and rejects of a source, and counts its rows."""

    def __init__(self) -> None:
        self.read = 0
        self._content = hashlib.sha256()
        self._kept: list[Trajectory] = []
        self._rejects: list[Reject] = []
        self._wrong: list[Trajectory] = []
        self._unused_turns: Counter[str] = Counter()
        self._marks: Counter[tuple[bool, bool]] = Counter()
        """(marked right, verified as correct) -> responses."""

    def count_read(self, row: SourceRow | Reject) -> None:
        """Count a row as it was read, before it is kept or dropped."""
        self.read += 1
        content: Sequence[object] = (
            sorted(row.values.items()) if isinstance(row, SourceRow) else (row.reason, row.row)
        )
        self._content.update(repr(content).encode())
        if isinstance(row, SourceRow):
            self._unused_turns.update(row.unused_turns)

    def count_mark(self, row: SourceRow, verdict: Verdict) -> None:
        """Compare the source's mark of a response with the verdict on it."""
        if (mark := source_mark(row)) is not None and verdict.error is None:
            self._marks[mark, verdict.correct] += 1

    def keep(self, candidate: Candidate) -> None:
        self._kept.append(candidate.accepted)

    def drop(self, reject: Reject) -> None:
        self._rejects.append(reject)

    def keep_wrong(self, candidate: Candidate) -> None:
        """Keep a candidate that is dropped for its verdict as a wrong trajectory."""
        self._wrong.append(candidate.known_wrong)

    @property
    def content(self) -> str:
        return self._content.hexdigest()

    def close(self, prompts: int, *, marks: bool) -> Ingested:
        """The result for `prompts` prompts; `marks`: whether the source judges its own responses."""
        dropped = Counter(reject.reason for reject in self._rejects)
        assert self.read == len(self._kept) + dropped.total(), "a trajectory was not counted"
        covered = {trajectory.prompt_id for trajectory in self._kept}
        counts: ExpertCounts = {
            "in": self.read,
            "kept": len(self._kept),
            "dropped": dict(sorted(dropped.items())),
            "prompts": prompts,
            "prompts_without": prompts - len(covered),
            "content": self.content,
        }
        if self._unused_turns:
            counts["unused_turns"] = dict(sorted(self._unused_turns.items()))
        if marks:
            right_but_wrong, wrong_but_right = self._marks[True, False], self._marks[False, True]
            counts["marked"] = {
                "right": right_but_wrong + self._marks[True, True],
                "wrong": wrong_but_right + self._marks[False, False],
            }
            counts["contradicts"] = {
                "marked_right_but_wrong": right_but_wrong,
                "marked_wrong_but_right": wrong_but_right,
            }
        if self._wrong:
            counts["wrong"] = len(self._wrong)
        return Ingested(self._kept, self._rejects, counts, self._wrong)
