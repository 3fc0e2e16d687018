"""Raw rows -> prompts to train on, to steer by (dev) and to evaluate on, no problem in two of them.

Rows are read once, one after the other, and wait on disk (`Spool`) while the filters that compare prompts
with each other decide; in memory is a fingerprint of some forty bytes each. Every row that is left out is in
quarantine.parquet under the name of the filter, in this order:

    what cannot be read       see `sources` and `formats`
    of the row alone          see `filters`, and unreadable_answer
    in_benchmark              a benchmark problem as it stands (`decontamination`)
    near_benchmark            with other numbers, cut short, or inside a longer prompt
    conflicting_answers       one problem, several answers: none is kept (`duplicates`)
    duplicate                 all but the first
    near_duplicate            all but the first
    in_dev                    differs from a dev prompt in case or punctuation only
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hpt_core.config import CurateConfig
from hpt_core.data import contract, tables
from hpt_core.data.candidates import Prompts, compare, draw_dev, gather, kept, repeated
from hpt_core.data.decontamination import Index, Known
from hpt_core.data.duplicates import Bands, Repeats, mark_exact
from hpt_core.data.filters import benchmark_filters
from hpt_core.data.intake import admitted
from hpt_core.data.ledger import Ledger
from hpt_core.data.problems import normalise, prompt_id
from hpt_core.data.shingles import BANDS
from hpt_core.data.sources import Row
from hpt_core.data.splits import Splits, check_disjoint
from hpt_core.data.spool import Spool
from hpt_core.errors import InputError
from hpt_core.types import Prompt

__all__ = ["check_disjoint", "curate", "normalise", "prompt_id"]


def curate(config: CurateConfig, seed: int, out: Path) -> dict[str, Any]:
    """Write train, dev, benchmarks and quarantine.parquet to `out` and return the report.

    Memory does not grow with the rows but for their fingerprints; what is on its way lies in temporary
    files in `out`. Raises InputError where a source cannot be read, too little is left, or the splits
    overlap; then nothing is written.
    """
    unused = contract.check(config)
    with ExitStack() as stack:
        add = stack.enter_context(tables.writing(out / "quarantine.parquet", tables.QUARANTINE))
        ledger = Ledger(lambda reject: add(reject.quarantine("curate")))
        scratch = partial(_scratch, out)
        benchmarks, known = _benchmarks(config, ledger, scratch)
        index = Index(known, config.decontamination)
        ledger.checked(index)
        bands = [stack.enter_context(scratch()) for _ in range(BANDS)]
        found = Prompts(Spool(stack.enter_context(scratch())), Bands(bands))
        gather(config, index, ledger, found)
        repeats = compare(config, index, ledger, found)
        dev = draw_dev(found, repeats, config.dev_size, seed)
        splits = Splits()
        for prompt in (prompt for prompts in benchmarks.values() for prompt in prompts):
            splits.claim("benchmarks", prompt)
        for at in dev:
            splits.claim("dev", found.spool[at].prompt)
        keep = stack.enter_context(tables.writing(out / "train.parquet", tables.PROMPTS))
        trained = 0
        for prompt in kept(found, repeats, set(dev), index, ledger):
            splits.check("train", prompt)
            keep(tables.as_row(prompt))
            trained += 1
        _check_sizes(config, trained, benchmarks, ledger)
        held_back = (tables.as_row(found.spool[at].prompt) for at in dev)
        tables.write(out / "dev.parquet", held_back, tables.PROMPTS)
        tables.write(out / "benchmarks.parquet", _rows(benchmarks), tables.BENCHMARKS)
    sizes = {
        "train": trained,
        "dev": len(dev),
        "quarantine": ledger.quarantined,
        "benchmarks": {name: len(prompts) for name, prompts in benchmarks.items()},
    }
    return {
        "sources": ledger.counts(),
        "content": ledger.content(),
        "unused_columns": unused,
        "contamination": ledger.contamination(),
        "checks": {"disjoint": True},
        "sizes": sizes,
    }


@contextmanager
def _scratch(folder: Path) -> Iterator[BinaryIO]:
    """A file without a name in `folder`, gone when the block ends."""
    with tempfile.TemporaryFile(dir=folder) as file:
        yield file


def _rows(benchmarks: Mapping[str, Sequence[Prompt]]) -> Iterator[dict[str, Any]]:
    for name, prompts in benchmarks.items():
        for prompt in prompts:
            yield tables.as_row(prompt) | {"benchmark": name}


def _benchmarks(
    config: CurateConfig, ledger: Ledger, scratch: Callable[[], AbstractContextManager[BinaryIO]]
) -> tuple[dict[str, list[Prompt]], list[Known]]:
    """The prompts of each benchmark, and every problem that was read, whatever became of its row."""
    prompts: dict[str, list[Prompt]] = {}
    known: list[Known] = []
    for name, sources in config.benchmarks.items():

        def seen(row: Row, name: str = name) -> None:
            problem = row.values["problem"]
            known.append(Known(name, prompt_id(problem), problem))

        group = f"benchmark:{name}"
        with scratch() as file:
            spool = Spool(file)
            for row, prompt in admitted(group, sources, benchmark_filters(config), ledger, seen):
                spool.add(row, prompt)
            ids = np.array([int(entry.prompt.prompt_id, 16) for entry in spool], dtype=np.uint64)
            repeats = Repeats(len(spool))
            mark_exact(repeats, ids, np.ones(len(spool), np.bool_), spool)
            prompts[name] = []
            for at, entry in enumerate(spool):
                if repeats.reason[at]:
                    ledger.drop(group, repeated(entry, at, repeats, spool))
                else:
                    ledger.keep(group, entry.prompt.source)
                    prompts[name].append(entry.prompt)
    return prompts, known


def _check_sizes(
    config: CurateConfig, trained: int, benchmarks: Mapping[str, Sequence[Prompt]], ledger: Ledger
) -> None:
    counts = ledger.counts()
    if not trained:
        names = [source.name for source in config.train]
        raise InputError(
            f"no prompt is left to train on from {names} beside those for dev: {counts['train']}; "
            f"give more rows, or lower curate.dev_size"
        )
    for name, prompts in benchmarks.items():
        if not prompts:
            raise InputError(
                f"benchmark {name!r} has no usable prompt: {counts[f'benchmark:{name}']}; correct "
                f"curate.benchmarks.{name} in params.yaml"
            )
