"""What became of every row: in = kept + dropped, source by source, and what was found in benchmarks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from hpt_core.data.curation.decontamination import Index, Known, Match
from hpt_core.data.reading.records import Reject, SourceRow

PAIRS = 200
"""Matched pairs that the report shows; the quarantine has all of them."""
SHOWN = 200
"""Characters of a problem in a pair."""
EXAMPLES = 5
"""Rejects of a group that an error shows."""


class CurationReport:
    """Counts, and hands each reject on as it comes."""

    def __init__(self, quarantine: Callable[[Reject], None]) -> None:
        self._quarantine = quarantine
        self._read: dict[str, Counter[str]] = {}
        self._kept: Counter[tuple[str, str]] = Counter()
        self._dropped: dict[tuple[str, str], Counter[str]] = {}
        self._examples: dict[str, list[str]] = {}
        self._content: dict[tuple[str, str], hashlib._Hash] = {}
        self._found: dict[str, Counter[str]] = {}
        self._problems: dict[str, int] = {}
        self._pairs: list[dict[str, Any]] = []
        self._templates: list[Known] = []
        self.quarantined = 0

    def open(self, group: str, source: str) -> None:
        self._read.setdefault(group, Counter())[source] = 0
        self._dropped[group, source] = Counter()
        self._content[group, source] = hashlib.sha256()

    def read(self, group: str, row: SourceRow | Reject) -> None:
        self._read[group][row.source] += 1
        self._content[group, row.source].update(
            repr(row.values if isinstance(row, SourceRow) else row.row).encode()
        )

    def keep(self, group: str, source: str) -> None:
        self._kept[group, source] += 1

    def drop(self, group: str, reject: Reject) -> None:
        self._dropped[group, reject.source][reject.reason] += 1
        self.quarantined += 1
        self._quarantine(reject)
        examples = self._examples.setdefault(group, [])
        if reject.reason != "duplicate" and len(examples) < EXAMPLES:
            examples.append(f"{reject.file}:{reject.line}: {reject.reason}: {reject.detail}")

    def checked(self, index: Index) -> None:
        """The benchmark problems that training prompts are compared with."""
        self._problems = dict(Counter(known.benchmark for known in index.known))

    def templates(self, known: Sequence[Known]) -> None:
        self._templates = list(known)

    def contaminated(self, known: Known, match: Match, source: str, where: str, problem: str) -> None:
        self._found.setdefault(known.benchmark, Counter())[match.rule] += 1
        if len(self._pairs) < PAIRS:
            pair = {
                "benchmark": known.benchmark,
                "prompt_id": known.prompt_id,
                "problem": known.problem[:SHOWN],
                "rule": match.rule,
                "overlap": round(match.overlap, 3),
                "source": source,
                "where": where,
                "training_problem": problem[:SHOWN],
            }
            self._pairs.append(pair)

    def counts(self) -> dict[str, Any]:
        """By group and source; every row that was read is in it once."""
        report: dict[str, Any] = {}
        for group, sources in self._read.items():
            report[group] = {}
            for name, read in sources.items():
                kept, dropped = self._kept[group, name], self._dropped[group, name]
                assert read == kept + dropped.total(), f"{group}, source {name}: a row went uncounted"
                report[group][name] = {"in": read, "kept": kept, "dropped": dict(sorted(dropped.items()))}
        return report

    def benchmarks(self) -> dict[str, Any]:
        """By benchmark: rows read, kept, merged with an equal one, and left out, by reason."""
        report: dict[str, Any] = {}
        for group, sources in self.counts().items():
            if (name := group.removeprefix("benchmark:")) != group:
                left_out = Counter[str]()
                for counts in sources.values():
                    left_out.update(counts["dropped"])
                merged = left_out.pop("duplicate", 0)
                rows, kept = (sum(counts[key] for counts in sources.values()) for key in ("in", "kept"))
                report[name] = {"rows": rows, "kept": kept, "merged": merged}
                report[name]["left_out"] = dict(sorted(left_out.items()))
        return report

    def examples(self, group: str) -> list[str]:
        """The first EXAMPLES rows of a group that were dropped, but for duplicates, and why."""
        return self._examples.get(group, [])

    def content(self) -> dict[str, dict[str, str]]:
        """By group and source, a hash of the rows as they were read: another one under the same name is
        another source."""
        return {
            group: {name: self._content[group, name].hexdigest()[:16] for name in sources}
            for group, sources in self._read.items()
        }

    def contamination(self) -> dict[str, Any]:
        """Matches by benchmark and rule, the first PAIRS of them, and the problems that are templates."""
        found = {name: dict(sorted(rules.items())) for name, rules in sorted(self._found.items())}
        left_out = sum(rules.total() for rules in self._found.values()) - len(self._pairs)
        templates = [
            {"benchmark": known.benchmark, "prompt_id": known.prompt_id, "problem": known.problem[:SHOWN]}
            for known in self._templates[:PAIRS]
        ]
        return {
            "benchmark_problems": self._problems,
            "found": found,
            "pairs": self._pairs,
            "pairs_left_out": left_out,
            "templates": templates,
        }
