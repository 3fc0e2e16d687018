"""Problems that no training prompt may be: those to evaluate on, and those to compare with only.

A benchmark is read as it is, whatever its lengths and scripts: a score on a part of it is that of another
benchmark. Only its repeats are merged; a row that cannot be asked or judged stops curation, unless
`curate.incomplete` says how many such rows the benchmark may be short of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO

import numpy as np

from hpt_core.config import CurateConfig, PromptSource
from hpt_core.data.curation.candidates import repeated
from hpt_core.data.curation.decontamination import Known
from hpt_core.data.curation.dedup import Repeats, mark_exact
from hpt_core.data.curation.filters import FILLED_IN
from hpt_core.data.curation.read_prompts import read_prompts
from hpt_core.data.curation.report import CurationReport
from hpt_core.data.curation.spool import Spool
from hpt_core.data.problems import prompt_id
from hpt_core.data.progress import watched
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import read_rows
from hpt_core.errors import InputError
from hpt_core.types import Prompt

Scratch = Callable[[], AbstractContextManager[BinaryIO]]


def read_benchmarks(
    config: CurateConfig, ledger: CurationReport, scratch: Scratch
) -> tuple[dict[str, list[Prompt]], list[Known]]:
    """The prompts of each benchmark, and every problem that was read, whatever became of its row.

    Raises InputError, a line for each benchmark that lacks more rows than `config.incomplete` says.
    """
    prompts: dict[str, list[Prompt]] = {}
    known: list[Known] = []
    for name, sources in config.benchmarks.items():

        def seen(row: SourceRow, name: str = name) -> None:
            known.append(_known(name, row))

        with scratch() as file:
            prompts[name] = _prompts(f"benchmark:{name}", sources, ledger, seen, Spool(file))
    _check(config, ledger)
    return prompts, known


def read_against(config: CurateConfig, ledger: CurationReport) -> list[Known]:
    """The problems of `decontamination.against`."""
    known: list[Known] = []
    for source in config.decontamination.against:
        ledger.open("against", source.name)
        for row in watched(read_rows(source), f"against {source.name}"):
            ledger.read("against", row)
            if isinstance(row, Reject):
                ledger.drop("against", row)
            elif row.values["problem"].strip():
                ledger.keep("against", source.name)
                known.append(_known(source.name, row))
            else:
                ledger.drop("against", row.reject("empty_problem", "the problem is empty"))
    return known


def _known(name: str, row: SourceRow) -> Known:
    problem = row.values["problem"]
    return Known(name, prompt_id(problem), problem)


def _prompts(
    group: str,
    sources: Sequence[PromptSource],
    ledger: CurationReport,
    seen: Callable[[SourceRow], None],
    spool: Spool,
) -> list[Prompt]:
    for row, prompt in read_prompts(group, sources, FILLED_IN, ledger, seen):
        spool.add(row, prompt)
    ids = np.array([int(entry.prompt.prompt_id, 16) for entry in spool], dtype=np.uint64)
    repeats = Repeats(len(spool))
    mark_exact(repeats, ids, np.ones(len(spool), np.bool_), spool)
    prompts = []
    for at, entry in enumerate(spool):
        if repeats.reason[at]:
            ledger.drop(group, repeated(entry, at, repeats, spool))
        else:
            ledger.keep(group, entry.prompt.source)
            prompts.append(entry.prompt)
    return prompts


def _check(config: CurateConfig, ledger: CurationReport) -> None:
    troubles = []
    for name, counts in ledger.benchmarks().items():
        reasons, short = counts["left_out"], sum(counts["left_out"].values())
        if not counts["kept"]:
            raise InputError(
                f"benchmark {name!r} has no usable prompt: {counts}; correct curate.benchmarks.{name} in "
                f"params.yaml"
            )
        if short > config.incomplete.get(name, 0):
            rows = "\n  ".join(ledger.examples(f"benchmark:{name}"))
            troubles.append(
                f"benchmark {name!r}: {short} of {counts['rows']} rows cannot be used, {reasons}; correct "
                f"them, or evaluate on the others with curate.incomplete: {{{name}: {short}}} in params.yaml:"
                f"\n  {rows}"
            )
    if troubles:
        raise InputError("\n".join(troubles))
