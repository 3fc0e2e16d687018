"""Raw rows -> prompts to train on, to steer by (dev) and to evaluate on, no problem in two of them.

Rows are read once, one after the other, and wait on disk (`Spool`) while the filters that compare prompts
with each other decide; in memory is a fingerprint of some forty bytes each. Every row that is left out is in
quarantine.parquet under the name of the filter, in this order:

    what cannot be read       see `sources` and `formats`
    of the row alone          see `filters`, and unreadable_answer
    in_benchmark              a problem of `curate.benchmarks` or `decontamination.against` as it stands
    near_benchmark            with other numbers, cut short, or inside a longer prompt (`decontamination`)
    conflicting_answers       one problem, several answers: none is kept (`duplicates`)
    duplicate                 all but the first
    near_duplicate            all but the first
    in_dev                    differs from a dev prompt in case or punctuation only
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from hpt_core import tables
from hpt_core.config import CurateConfig
from hpt_core.data.curation import contract
from hpt_core.data.curation.candidates import Prompts, draw_dev, gather, kept, mark_repeats, mark_templates
from hpt_core.data.curation.decontamination import Index
from hpt_core.data.curation.dedup import Bands
from hpt_core.data.curation.held_out import read_against, read_benchmarks
from hpt_core.data.curation.minhash import BANDS
from hpt_core.data.curation.report import CurationReport
from hpt_core.data.curation.splits import Splits, check_disjoint
from hpt_core.data.curation.spool import Spool
from hpt_core.data.problems import normalise, prompt_id
from hpt_core.errors import InputError
from hpt_core.types import Prompt

__all__ = ["check_disjoint", "curate", "normalise", "prompt_id"]


def curate(config: CurateConfig, seed: int, out: Path) -> dict[str, Any]:
    """Write train, dev, benchmarks and quarantine.parquet to `out` and return the report.

    Memory does not grow with the rows but for their fingerprints; what is on its way lies in temporary
    files in `out`. Raises InputError where a source cannot be read, a benchmark lacks rows, too little is
    left, or the splits overlap; then nothing is written.
    """
    unused = contract.check(config)
    with ExitStack() as stack:
        add = stack.enter_context(tables.writing(out / "quarantine.parquet", tables.QUARANTINE))
        ledger = CurationReport(lambda reject: add(reject.quarantine("curate")))
        scratch = partial(_scratch, out)
        benchmarks, known = read_benchmarks(config, ledger, scratch)
        index = Index(known + read_against(config, ledger), config.decontamination)
        ledger.checked(index)
        bands = [stack.enter_context(scratch()) for _ in range(BANDS)]
        found = Prompts(Spool(stack.enter_context(scratch())), Bands(bands))
        gather(config, index, ledger, found)
        mark_templates(index, ledger, found)
        repeats = mark_repeats(config, found)
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
        if not trained:
            raise _nothing_left(config, ledger)
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
        "benchmarks": ledger.benchmarks(),
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


def _nothing_left(config: CurateConfig, ledger: CurationReport) -> InputError:
    names, counts = [source.name for source in config.train], ledger.counts()["train"]
    return InputError(
        f"no prompt is left to train on from {names} beside those for dev: {counts}; give more rows, or "
        f"lower curate.dev_size"
    )


def _rows(benchmarks: Mapping[str, Sequence[Prompt]]) -> Iterator[dict[str, Any]]:
    for name, prompts in benchmarks.items():
        for prompt in prompts:
            yield tables.as_row(prompt) | {"benchmark": name}
