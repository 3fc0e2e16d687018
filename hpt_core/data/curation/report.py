"""The report of curation: for each source in = kept + dropped, and the matches with benchmark problems."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NotRequired, TypedDict

from hpt_core.data.curation.decontamination import BenchmarkIndex, BenchmarkProblem, Match
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.mutation.report import RatesEntry

PAIRS = 200
"""Matched pairs in the report; the quarantine has all of them."""
SHOWN = 200
"""Characters of a problem in a pair."""
EXAMPLES = 5
"""Rejects of a group that an error message shows."""

SourceCounts = TypedDict("SourceCounts", {"in": int, "kept": int, "dropped": dict[str, int]})
"""Rows of a source; dropped: reason -> rows."""


class BenchmarkCounts(TypedDict):
    """Rows of a benchmark."""

    rows: int
    kept: int
    merged: int
    """Rows equal to another row."""
    left_out: dict[str, int]
    """Reason -> rows."""


class MatchedPair(TypedDict):
    """A benchmark problem and a training prompt that matches it."""

    benchmark: str
    prompt_id: str
    problem: str
    rule: str
    overlap: float
    source: str
    where: str
    training_problem: str


class Template(TypedDict):
    """A benchmark problem whose text, but for numbers, is that of a generated task."""

    benchmark: str
    prompt_id: str
    problem: str


class Contamination(TypedDict):
    """The matches of training prompts with benchmark problems."""

    benchmark_problems: dict[str, int]
    found: dict[str, dict[str, int]]
    """Benchmark -> rule -> training prompts."""
    pairs: list[MatchedPair]
    pairs_left_out: int
    templates: list[Template]


class Sizes(TypedDict):
    """Rows of the files that curation writes."""

    train: int
    dev: int
    quarantine: int
    benchmarks: dict[str, int]


class ReportFile(TypedDict):
    """The content of report.json."""

    sources: dict[str, dict[str, SourceCounts]]
    """The counts of each source, by group and source."""
    benchmarks: dict[str, BenchmarkCounts]
    content: dict[str, dict[str, str]]
    unused_columns: dict[str, dict[str, list[str]]]
    unused_turns: NotRequired[dict[str, dict[str, dict[str, int]]]]
    """Group -> source -> turns of conversations that are not used -> rows; only where there are any."""
    contamination: Contamination
    checks: dict[str, bool]
    sizes: Sizes
    verifier: NotRequired[dict[str, RatesEntry]]
    """Error rates of the verifier on a sample of the answers of each training source."""


class CurationReport:
    """Collects the counts of curation and passes each reject on to the quarantine."""

    def __init__(self, quarantine: Callable[[str, Reject], None]) -> None:
        """quarantine: is called with the group and the reject of each row that is left out."""
        self._quarantine = quarantine
        self._read: dict[str, Counter[str]] = {}
        self._kept: Counter[tuple[str, str]] = Counter()
        self._dropped: dict[tuple[str, str], Counter[str]] = {}
        self._examples: dict[str, list[str]] = {}
        self._content: dict[tuple[str, str], hashlib._Hash] = {}
        self._unused_turns: dict[str, dict[str, Counter[str]]] = {}
        self._matches: dict[str, Counter[str]] = {}
        self._problems: dict[str, int] = {}
        self._pairs: list[MatchedPair] = []
        self._templates: list[BenchmarkProblem] = []
        self.quarantined = 0

    def open_source(self, group: str, source: str) -> None:
        self._read.setdefault(group, Counter())[source] = 0
        self._dropped[group, source] = Counter()
        self._content[group, source] = hashlib.sha256()

    def count_read(self, group: str, row: SourceRow | Reject) -> None:
        self._read[group][row.source] += 1
        self._content[group, row.source].update(
            repr(row.values if isinstance(row, SourceRow) else row.row).encode()
        )
        if isinstance(row, SourceRow) and row.unused_turns:
            sources = self._unused_turns.setdefault(group, {})
            sources.setdefault(row.source, Counter()).update(row.unused_turns)

    def keep(self, group: str, source: str) -> None:
        self._kept[group, source] += 1

    def drop(self, group: str, reject: Reject) -> None:
        self._dropped[group, reject.source][reject.reason] += 1
        self.quarantined += 1
        self._quarantine(group, reject)
        examples = self._examples.setdefault(group, [])
        if reject.reason != "duplicate" and len(examples) < EXAMPLES:
            examples.append(f"{reject.file}:{reject.line}: {reject.reason}: {reject.detail}")

    def set_benchmark_problems(self, index: BenchmarkIndex) -> None:
        """Note how many problems of each benchmark the training prompts are compared with."""
        self._problems = dict(Counter(problem.benchmark for problem in index.problems))

    def set_templates(self, problems: Sequence[BenchmarkProblem]) -> None:
        self._templates = list(problems)

    def add_match(
        self, problem: BenchmarkProblem, match: Match, source: str, where: str, training_problem: str
    ) -> None:
        """Note that the training prompt at `where` is the benchmark problem `problem`."""
        self._matches.setdefault(problem.benchmark, Counter())[match.rule] += 1
        if len(self._pairs) < PAIRS:
            pair: MatchedPair = {
                "benchmark": problem.benchmark,
                "prompt_id": problem.prompt_id,
                "problem": problem.problem[:SHOWN],
                "rule": match.rule,
                "overlap": round(match.overlap, 3),
                "source": source,
                "where": where,
                "training_problem": training_problem[:SHOWN],
            }
            self._pairs.append(pair)

    def counts(self) -> dict[str, dict[str, SourceCounts]]:
        """Counts by group and source; every row that was read is counted once."""
        by_group: dict[str, dict[str, SourceCounts]] = {}
        for group, sources in self._read.items():
            by_group[group] = {}
            for name, read in sources.items():
                kept, dropped = self._kept[group, name], self._dropped[group, name]
                assert read == kept + dropped.total(), f"{group}, source {name}: a row was not counted"
                by_group[group][name] = {"in": read, "kept": kept, "dropped": dict(sorted(dropped.items()))}
        return by_group

    def benchmarks(self) -> dict[str, BenchmarkCounts]:
        """Counts by benchmark."""
        by_benchmark: dict[str, BenchmarkCounts] = {}
        for group, sources in self.counts().items():
            if (name := group.removeprefix("benchmark:")) != group:
                left_out = Counter[str]()
                for counts in sources.values():
                    left_out.update(counts["dropped"])
                merged = left_out.pop("duplicate", 0)
                by_benchmark[name] = {
                    "rows": sum(counts["in"] for counts in sources.values()),
                    "kept": sum(counts["kept"] for counts in sources.values()),
                    "merged": merged,
                    "left_out": dict(sorted(left_out.items())),
                }
        return by_benchmark

    def examples(self, group: str) -> list[str]:
        """The first EXAMPLES rejects of a group, duplicates left out, each with its reason."""
        return self._examples.get(group, [])

    def unused_turns(self) -> dict[str, dict[str, dict[str, int]]]:
        """Rows with turns that are not used, by group, source and the turns' place or role."""
        return {
            group: {name: dict(sorted(turns.items())) for name, turns in sources.items()}
            for group, sources in self._unused_turns.items()
        }

    def content(self) -> dict[str, dict[str, str]]:
        """A hash of the rows as they were read, by group and source.

        A source with another hash under the same name has changed.
        """
        return {
            group: {name: self._content[group, name].hexdigest()[:16] for name in sources}
            for group, sources in self._read.items()
        }

    def contamination(self) -> Contamination:
        """Matches by benchmark and rule, the first PAIRS of them, and the problems that are templates."""
        matches = {name: dict(sorted(rules.items())) for name, rules in sorted(self._matches.items())}
        templates: list[Template] = [
            {
                "benchmark": problem.benchmark,
                "prompt_id": problem.prompt_id,
                "problem": problem.problem[:SHOWN],
            }
            for problem in self._templates[:PAIRS]
        ]
        return {
            "benchmark_problems": self._problems,
            "found": matches,
            "pairs": self._pairs,
            "pairs_left_out": sum(rules.total() for rules in self._matches.values()) - len(self._pairs),
            "templates": templates,
        }
