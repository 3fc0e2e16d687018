"""Curation as a whole: from raw rows to prompts for training, dev and evaluation, no problem in two of them.

Rows are read once, one after the other, and stay on disk (`spool`) while the filters that compare prompts
with each other decide; memory holds a fingerprint of some forty bytes for each. Every row that is left out
is in quarantine.parquet under the name of the filter, in this order:

    unreadable rows           see `reading.sources` and `reading.formats`
    filters of one row        see `filters`, unreadable_answer, unverifiable_answer
    in_benchmark              a problem of `curate.benchmarks` or `decontamination.against`, unchanged
    near_benchmark            with other numbers, cut short, or inside a longer prompt (`decontamination`)
    conflicting_answers       one problem with several answers, none of which is kept (`dedup`)
    duplicate                 all but the first
    near_duplicate            all but the first
    in_dev                    differs from a dev prompt in case or punctuation only

left_out.parquet has the problems of these rows, of dev and of the benchmarks: who brings a demonstration for
one of them is told why nothing is trained on it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from hpt_core import tables
from hpt_core.config import CurateConfig
from hpt_core.data.curation.answer_sample import AnswerSample
from hpt_core.data.curation.candidates import (
    Candidates,
    draw_dev,
    gather,
    mark_repeats,
    mark_templates,
    training_prompts,
)
from hpt_core.data.curation.contract import check_sources
from hpt_core.data.curation.decontamination import BenchmarkIndex
from hpt_core.data.curation.dedup import BandKeys
from hpt_core.data.curation.held_out import read_against, read_benchmarks
from hpt_core.data.curation.minhash import BANDS
from hpt_core.data.curation.report import CurationReport, ReportFile, Sizes
from hpt_core.data.curation.splits import Splits
from hpt_core.data.curation.spool import Spool
from hpt_core.data.reading.records import Reject
from hpt_core.errors import InputError
from hpt_core.mutation.report import RatesEntry
from hpt_core.protocols import Verifier
from hpt_core.types import Prompt

DRAWN = "drawn for the dev split, whose size is curate.dev_size"


def curate(config: CurateConfig, seed: int, out: Path, verifier: Verifier | None = None) -> ReportFile:
    """Write train, dev, benchmarks, quarantine and left_out.parquet to `out` and return the report.

    With a `verifier`, the report has its error rates on a sample of the training answers.

    Memory grows with the rows by their fingerprints only; prompts wait in temporary files in `out`.

    Raises InputError, and writes nothing, if a source cannot be read, a benchmark lacks rows, no prompt is
    left to train on, or the splits overlap.
    """
    unused = check_sources(config)
    sample = AnswerSample(seed)
    with ExitStack() as stack:
        left_out = stack.enter_context(_left_out(out))
        report = CurationReport(left_out.add)
        scratch_file = partial(_scratch_file, out)
        benchmarks, problems = read_benchmarks(config, report, scratch_file)
        index = BenchmarkIndex(problems + read_against(config, report), config.decontamination)
        report.set_benchmark_problems(index)
        band_files = [stack.enter_context(scratch_file()) for _ in range(BANDS)]
        candidates = Candidates(Spool(stack.enter_context(scratch_file())), BandKeys(band_files))
        gather(config, index, report, candidates)
        mark_templates(index, report, candidates)
        repeats = mark_repeats(config, candidates)
        dev = draw_dev(candidates, repeats, config.dev_size, seed)
        splits = _claim_held_out(benchmarks, candidates.prompts(dev), left_out)
        write_prompt = stack.enter_context(tables.writing(out / "train.parquet", tables.PROMPTS))
        n_train = 0
        for prompt in training_prompts(candidates, repeats, set(dev), index, report):
            splits.check("train", prompt)
            write_prompt(tables.as_row(prompt))
            sample.offer(prompt)
            n_train += 1
        if not n_train:
            raise _nothing_left(config, report)
        tables.write(out / "dev.parquet", map(tables.as_row, candidates.prompts(dev)), tables.PROMPTS)
        tables.write(out / "benchmarks.parquet", _benchmark_rows(benchmarks), tables.BENCHMARKS)
    sizes: Sizes = {
        "train": n_train,
        "dev": len(dev),
        "quarantine": report.quarantined,
        "benchmarks": {name: len(prompts) for name, prompts in benchmarks.items()},
    }
    return _report_file(report, unused, sizes, None if verifier is None else sample.rates(verifier))


@dataclass(frozen=True)
class LeftOut:
    """Writes what is left out: every such row, and what became of every problem that is not trained on."""

    write_row: Callable[[Mapping[str, Any]], None]
    write_problem: Callable[[Mapping[str, Any]], None]

    def add(self, group: str, reject: Reject) -> None:
        self.write_row(reject.quarantine("curate"))
        # The first row with a problem says what became of the problem.
        if group == "train" and reject.prompt_id and reject.reason != "duplicate":
            self.add_problem(reject.prompt_id, reject.reason, reject.detail)

    def add_problem(self, prompt_id: str, reason: str, detail: str) -> None:
        self.write_problem({"prompt_id": prompt_id, "reason": reason, "detail": detail})


@contextmanager
def _left_out(out: Path) -> Iterator[LeftOut]:
    with (
        tables.writing(out / "quarantine.parquet", tables.QUARANTINE) as write_row,
        tables.writing(out / "left_out.parquet", tables.LEFT_OUT) as write_problem,
    ):
        yield LeftOut(write_row, write_problem)


def _claim_held_out(
    benchmarks: Mapping[str, Sequence[Prompt]], dev: Iterable[Prompt], left_out: LeftOut
) -> Splits:
    """The splits of the prompts that are not trained on; `left_out` gets their problems."""
    splits = Splits()
    for name, prompts in benchmarks.items():
        for prompt in prompts:
            splits.claim("benchmarks", prompt)
            left_out.add_problem(prompt.prompt_id, "in_benchmark", f"a problem of benchmark {name!r}")
    for prompt in dev:
        splits.claim("dev", prompt)
        left_out.add_problem(prompt.prompt_id, "in_dev", DRAWN)
    return splits


def _report_file(
    report: CurationReport,
    unused_columns: dict[str, dict[str, list[str]]],
    sizes: Sizes,
    rates: dict[str, RatesEntry] | None,
) -> ReportFile:
    """The content of report.json; `rates` are those of the verifier."""
    file: ReportFile = {
        "sources": report.counts(),
        "benchmarks": report.benchmarks(),
        "content": report.content(),
        "unused_columns": unused_columns,
        "contamination": report.contamination(),
        "checks": {"disjoint": True},
        "sizes": sizes,
    }
    if rates is not None:
        file["verifier"] = rates
    if unused_turns := report.unused_turns():
        file["unused_turns"] = unused_turns
    return file


@contextmanager
def _scratch_file(folder: Path) -> Iterator[BinaryIO]:
    """A file without a name in `folder`, which disappears when the block ends."""
    with tempfile.TemporaryFile(dir=folder) as file:
        yield file


def _nothing_left(config: CurateConfig, report: CurationReport) -> InputError:
    names, counts = [source.name for source in config.train], report.counts()["train"]
    return InputError(
        f"no prompt is left to train on from {names} beside those for dev: {counts}; give more rows, or "
        f"lower curate.dev_size"
    )


def _benchmark_rows(benchmarks: Mapping[str, Sequence[Prompt]]) -> Iterator[dict[str, Any]]:
    for name, prompts in benchmarks.items():
        for prompt in prompts:
            yield tables.as_row(prompt) | {"benchmark": name}
