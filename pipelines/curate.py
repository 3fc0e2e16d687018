"""Stage `curate`: raw prompts -> data/prompts/{train,dev,benchmarks,quarantine}.parquet, report.json."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from hpt_core.data import tables
from hpt_core.data.curation import curate
from pipelines import raw
from pipelines.params import Params
from pipelines.stage import launch

log = logging.getLogger(__name__)


def run(params: Params, out: Path = Path("data/prompts")) -> dict[str, Any]:
    """Write the prompts of `params.curate` to `out` and return the report. Raises InputError."""
    config = params.curate
    sources = [*config.train, *(source for many in config.benchmarks.values() for source in many)]
    raw.warn_outside(raw.DATA, (source.file for source in sources))
    curated = curate(config.train, config.benchmarks, config.dev_size, config.max_problem_chars, params.seed)
    tables.write(out / "train.parquet", map(tables.as_row, curated.train), tables.PROMPTS)
    tables.write(out / "dev.parquet", map(tables.as_row, curated.dev), tables.PROMPTS)
    rows = [
        tables.as_row(prompt) | {"benchmark": name}
        for name, prompts in curated.benchmarks.items()
        for prompt in prompts
    ]
    tables.write(out / "benchmarks.parquet", rows, tables.BENCHMARKS)
    quarantine = [reject.quarantine("curate") for reject in curated.quarantine]
    tables.write(out / "quarantine.parquet", quarantine, tables.QUARANTINE)
    tables.write_json(out / "report.json", curated.report)
    _log(curated.report, out)
    return curated.report


def _log(report: dict[str, Any], out: Path) -> None:
    for group, sources in report["sources"].items():
        for name, counts in sources.items():
            dropped = json.dumps(counts["dropped"]) if counts["dropped"] else "none"
            log.info("%s %s: in %d, kept %d, dropped %s", group, name, counts["in"], counts["kept"], dropped)
    sizes = report["sizes"]
    log.info("train %d, dev %d, benchmarks %s", sizes["train"], sizes["dev"], json.dumps(sizes["benchmarks"]))
    if sizes["quarantine"]:
        log.warning("%d rows left out: see %s", sizes["quarantine"], out / "quarantine.parquet")


def main() -> None:
    """Entry point of `python -m pipelines.curate`."""
    launch("curate", run)


if __name__ == "__main__":
    main()
