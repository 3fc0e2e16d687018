"""Rows of the sources -> prompts, as far as a row alone decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hpt_core.config import PromptSource
from hpt_core.data.curation import contract
from hpt_core.data.curation.filters import Filter, reference
from hpt_core.data.curation.report import CurationReport
from hpt_core.data.problems import prompt_id
from hpt_core.data.progress import watched
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import read_rows
from hpt_core.types import Prompt


def read_prompts(
    group: str,
    sources: Sequence[PromptSource],
    filters: Sequence[Filter],
    ledger: CurationReport,
    seen: Callable[[SourceRow], None],
) -> Iterator[tuple[SourceRow, Prompt]]:
    """Rows with their prompts, as far as the row alone decides; `seen` sees every readable row."""
    for source in sources:
        ledger.open(group, source.name)
        for row in watched(read_rows(source), f"{group} {source.name}"):
            ledger.read(group, row)
            if isinstance(row, SourceRow):
                seen(row)
            result = row if isinstance(row, Reject) else _prompt(row, source, filters)
            if isinstance(result, Reject):
                ledger.drop(group, result)
            else:
                yield result


def _prompt(
    row: SourceRow, source: PromptSource, filters: Sequence[Filter]
) -> tuple[SourceRow, Prompt] | Reject:
    problem, answer = row.values["problem"].strip(), row.values["answer"].strip()
    for rule in filters:
        if trouble := rule.trouble(problem, answer):
            return row.reject(rule.reason, trouble)
    kind = contract.answer_kind(source)
    answer, trouble = reference(row, source, kind)
    if trouble:
        return row.reject("unreadable_answer", trouble)
    return row, Prompt(prompt_id(problem), problem, answer, kind, source.name, source.license)
