"""Stage `curate`: raw prompts -> data/prompts/{train,dev,benchmarks,quarantine}.parquet, report.json."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from hpt_core.data.curation.contract import groups
from hpt_core.data.curation.pipeline import curate
from hpt_core.data.curation.report import ReportFile
from hpt_core.files import write_json
from hpt_core.mutation.report import sentence
from hpt_core.verifier import VerifierPool
from pipelines.params import Params
from pipelines.paths import PROMPTS_FOLDER, PROMPTS_REPORT
from pipelines.stage import raw_files
from pipelines.stage.launch import launch

log = logging.getLogger(__name__)
TIMEOUT_S = 5.0
"""Seconds for a verdict on a changed answer; no parameter, as those of the verifier do not re-run curate."""


def run(params: Params, out: Path = PROMPTS_FOLDER) -> ReportFile:
    """Write the prompts of `params.curate` to `out` and return the report. Raises InputError."""
    config = params.curate
    sources = [source for *_, group in groups(config) for source in group]
    raw_files.warn_unseen("curate", (source.file for source in sources))
    with VerifierPool(workers=1, timeout_s=TIMEOUT_S, sandboxed=params.verifier.sandbox) as verifier:
        report = curate(config, params.seed, out, verifier)
    write_json(out / PROMPTS_REPORT.name, report)
    _log(report, out)
    return report


def _log(report: ReportFile, out: Path) -> None:
    """Log the counts, and a warning for each group of rows that curation left out."""
    for group, sources in report["sources"].items():
        for name, counts in sources.items():
            dropped = json.dumps(counts["dropped"]) if counts["dropped"] else "none"
            log.info("%s %s: in %d, kept %d, dropped %s", group, name, counts["in"], counts["kept"], dropped)
            if turns := report.get("unused_turns", {}).get(group, {}).get(name):
                log.info("%s %s: rows with turns of a conversation that are not used: %s", group, name, turns)
    sizes = report["sizes"]
    log.info("train %d, dev %d, benchmarks %s", sizes["train"], sizes["dev"], json.dumps(sizes["benchmarks"]))
    for name, benchmark in report["benchmarks"].items():
        if benchmark["left_out"]:
            lacking, reasons = sum(benchmark["left_out"].values()), json.dumps(benchmark["left_out"])
            log.warning("benchmark %s lacks %d of its %d rows: %s", name, lacking, benchmark["rows"], reasons)
    for name, counts in report["sources"].get("against", {}).items():
        if counts["dropped"]:
            dropped = json.dumps(counts["dropped"])
            log.warning(
                "no training prompt was compared with %d rows of %s: %s",
                counts["in"] - counts["kept"],
                name,
                dropped,
            )
    contamination = report["contamination"]
    for name, rules in contamination["found"].items():
        log.info("training prompts that are problems of %s: %s", name, json.dumps(rules))
    if contamination["templates"]:
        log.warning(
            "%d benchmark problems are templates of training prompts, which are kept: see %s",
            len(contamination["templates"]),
            out / PROMPTS_REPORT.name,
        )
    for name, rates in report.get("verifier", {}).items():
        if rates["mutants"]["made"] or rates["rewrites"]["made"]:
            is_faulty = rates["mutants"]["wrong"] or rates["rewrites"]["wrong"]
            log.log(logging.WARNING if is_faulty else logging.INFO, "%s", sentence(name, rates))
    if sizes["quarantine"]:
        log.warning("%d rows left out: see %s", sizes["quarantine"], out / "quarantine.parquet")


def main() -> None:
    """Entry point of `python -m pipelines.curate`."""

    def body(params: Params) -> None:
        run(params)

    launch("curate", body)


if __name__ == "__main__":
    main()
