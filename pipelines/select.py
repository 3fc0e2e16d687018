"""Stage `select@ARM`: the demonstrations of an arm.

An arm is trained on this file alone, so that a source grows, comes or goes without a new training of the arms
whose demonstrations stay the same.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpt_core import tables
from hpt_core.data.demonstrations.arm_selection import select
from hpt_core.data.demonstrations.selection import entry_of
from hpt_core.errors import InputError
from hpt_core.files import read_json, write_json
from pipelines import paths
from pipelines.params import Params
from pipelines.stage.launch import argument, check_name, launch

log = logging.getLogger(__name__)


def run(params: Params, arm: str, root: Path = Path()) -> None:
    """Write the demonstrations of `arm` and how many prompts have one.

    Raises InputError where no prompt has one and the algorithm imitates.
    """
    config = params.arms[arm]
    prompts = tables.read_prompts(root / paths.TRAIN_PROMPTS)
    experts = tables.read_experts(root / paths.EXPERTS)
    try:
        selected = select([prompt.prompt_id for prompt in prompts], experts, config, params.seed)
    except InputError as error:
        raise InputError(f"arm {arm}: {error}") from None
    chosen = [tables.as_row(trajectory) for trajectory in selected]
    if not chosen and params.train.uses_demonstrations:
        report = read_json(root / paths.EXPERTS_REPORT)
        raise InputError(_why_none(params, arm, len(prompts), report))
    rows = ({name: row[name] for name in tables.DEMONSTRATIONS.names} for row in chosen)
    tables.write(root / paths.demonstrations(arm), rows, tables.DEMONSTRATIONS)
    with_expert = len({row["prompt_id"] for row in chosen})
    share = with_expert / len(prompts)
    write_json(
        root / paths.coverage(arm),
        {
            "prompts": len(prompts),
            "with_expert": with_expert,
            "coverage": share,
            "sources": Counter(row["source"] for row in chosen),
        },
    )
    log.info("%s: %d of %d prompts (%.1f%%) have an expert", arm, with_expert, len(prompts), 100 * share)
    if wrong := sum(not row["verified"] for row in chosen):
        log.warning("%s: %d of %d demonstrations are wrong (wrong_share)", arm, wrong, len(chosen))


def _why_none(params: Params, arm: str, prompts: int, report: Mapping[str, Mapping[str, Any]]) -> str:
    """One line: what became of the rows of each source that the arm's mix admits."""
    mix = params.arms[arm].mix
    kinds = {source.name: source.kinds for source in params.experts.sources} | {"teacher": {"teacher"}}
    admitted = [
        name for name in report if any(entry_of(mix, kind, name) for kind in kinds.get(name, {"teacher"}))
    ]
    sources = "; ".join(f"source {name}: {_outcome(report[name])}" for name in admitted)
    return (
        f"arm {arm}: none of {prompts} training prompts has an expert, so it would learn nothing of its mix. "
        f"{sources or 'No source is in its mix'}. {paths.EXPERTS_FOLDER / 'quarantine.parquet'} has each row "
        f"with its reason; correct the source in params.yaml, or arms.{arm}.mix"
    )


def _outcome(counts: Mapping[str, Any]) -> str:
    reasons = sorted(counts["dropped"].items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{count} {reason}" for reason, count in reasons)
    return f"{counts['in']} rows, {counts['kept']} kept" + (f", quarantined {text}" if text else "")


def main() -> None:
    """Entry point of `python -m pipelines.select ARM`."""
    arm = argument()

    def body(params: Params) -> None:
        check_name(arm, params.arms)
        run(params, arm)

    launch(f"select@{arm}", body)


if __name__ == "__main__":
    main()
