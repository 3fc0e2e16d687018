"""Prompts from the rows of the sources, through the filters that look at one row alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hpt_core.config import PromptSource
from hpt_core.data.curation.filters import Filter, reference_answer
from hpt_core.data.curation.report import CurationReport
from hpt_core.data.problems import prompt_id
from hpt_core.data.progress import with_progress
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import read_rows
from hpt_core.types import Prompt
from hpt_core.verifier.unverifiable import unverifiable


def read_prompts(
    group: str,
    sources: Sequence[PromptSource],
    filters: Sequence[Filter],
    report: CurationReport,
    on_row: Callable[[SourceRow], None],
) -> Iterator[tuple[SourceRow, Prompt]]:
    """The rows that pass `filters`, each with its prompt. `on_row` is called with every readable row."""
    for source in sources:
        report.open_source(group, source.name)
        for row in with_progress(read_rows(source), f"{group} {source.name}"):
            report.count_read(group, row)
            if isinstance(row, SourceRow):
                on_row(row)
            result = row if isinstance(row, Reject) else _prompt(row, source, filters)
            if isinstance(result, Reject):
                report.drop(group, result)
            else:
                yield result


def _prompt(
    row: SourceRow, source: PromptSource, filters: Sequence[Filter]
) -> tuple[SourceRow, Prompt] | Reject:
    problem, answer = row.values["problem"].strip(), row.values["answer"].strip()
    for rule in filters:
        if fault := rule.fault(problem, answer):
            return row.reject(rule.reason, fault)
    kind = source.verifier_kind
    answer, fault = reference_answer(row, source, kind)
    if fault:
        missing = unverifiable(row.values["answer"], kind)
        return row.reject("unverifiable_answer" if missing else "unreadable_answer", fault)
    return row, Prompt(prompt_id(problem), problem, answer, kind, source.name, source.license)
