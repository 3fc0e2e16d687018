"""Problems that no training prompt may be: the benchmarks, and problems that are only compared with.

A benchmark is read as it is, whatever its lengths and scripts: a score on a part of it is a score on another
benchmark. Only its repeats are merged. A row that cannot be read or judged stops curation, unless
`curate.incomplete` allows the benchmark to lack so many rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO

import numpy as np

from hpt_core.config import CurateConfig, PromptSource
from hpt_core.data.curation.candidates import repeat_reject
from hpt_core.data.curation.decontamination import BenchmarkProblem
from hpt_core.data.curation.dedup import Repeats, mark_exact
from hpt_core.data.curation.filters import NOT_EMPTY
from hpt_core.data.curation.read_prompts import read_prompts
from hpt_core.data.curation.report import CurationReport
from hpt_core.data.curation.spool import Spool
from hpt_core.data.problems import prompt_id
from hpt_core.data.progress import with_progress
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import read_rows
from hpt_core.errors import InputError
from hpt_core.types import Prompt

ScratchFile = Callable[[], AbstractContextManager[BinaryIO]]
"""Opens an empty temporary file."""


def read_benchmarks(
    config: CurateConfig, report: CurationReport, scratch_file: ScratchFile
) -> tuple[dict[str, list[Prompt]], list[BenchmarkProblem]]:
    """The prompts of each benchmark, and every problem that was read, including those of dropped rows.

    Raises InputError, with a line for each benchmark that lacks more rows than `config.incomplete` allows.
    """
    prompts: dict[str, list[Prompt]] = {}
    problems: list[BenchmarkProblem] = []
    for name, sources in config.benchmarks.items():

        def add_problem(row: SourceRow, name: str = name) -> None:
            problems.append(_benchmark_problem(name, row))

        with scratch_file() as file:
            prompts[name] = _prompts(f"benchmark:{name}", sources, report, add_problem, Spool(file))
    _check_complete(config, report)
    return prompts, problems


def read_against(config: CurateConfig, report: CurationReport) -> list[BenchmarkProblem]:
    """The problems of `decontamination.against`."""
    problems: list[BenchmarkProblem] = []
    for source in config.decontamination.against:
        report.open_source("against", source.name)
        for row in with_progress(read_rows(source), f"against {source.name}"):
            report.count_read("against", row)
            if isinstance(row, Reject):
                report.drop("against", row)
            elif row.values["problem"].strip():
                report.keep("against", source.name)
                problems.append(_benchmark_problem(source.name, row))
            else:
                report.drop("against", row.reject("empty_problem", "the problem is empty"))
    return problems


def _benchmark_problem(benchmark: str, row: SourceRow) -> BenchmarkProblem:
    problem = row.values["problem"]
    return BenchmarkProblem(benchmark, prompt_id(problem), problem)


def _prompts(
    group: str,
    sources: Sequence[PromptSource],
    report: CurationReport,
    on_row: Callable[[SourceRow], None],
    spool: Spool,
) -> list[Prompt]:
    for row, prompt in read_prompts(group, sources, NOT_EMPTY, report, on_row):
        spool.add(row, prompt)
    ids = np.array([int(spooled.prompt.prompt_id, 16) for spooled in spool], dtype=np.uint64)
    repeats = Repeats(len(spool))
    mark_exact(repeats, ids, np.ones(len(spool), np.bool_), spool)
    prompts = []
    for index, spooled in enumerate(spool):
        if repeats.reason[index]:
            report.drop(group, repeat_reject(spooled, index, repeats, spool))
        else:
            report.keep(group, spooled.prompt.source)
            prompts.append(spooled.prompt)
    return prompts


def _check_complete(config: CurateConfig, report: CurationReport) -> None:
    faults = []
    for name, counts in report.benchmarks().items():
        reasons, lacking = counts["left_out"], sum(counts["left_out"].values())
        if not counts["kept"]:
            raise InputError(
                f"benchmark {name!r} has no usable prompt: {counts}; correct curate.benchmarks.{name} in "
                f"params.yaml"
            )
        if lacking > config.incomplete.get(name, 0):
            rows = "\n  ".join(report.examples(f"benchmark:{name}"))
            faults.append(
                f"benchmark {name!r}: {lacking} of {counts['rows']} rows cannot be used, {reasons}; correct "
                f"them, or evaluate on the others with curate.incomplete: {{{name}: {lacking}}} in "
                f"params.yaml:\n  {rows}"
            )
    if faults:
        raise InputError("\n".join(faults))
