"""Stage `experts`: people's, programs' and the teacher's solutions -> verified trajectories."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpt_core import tables
from hpt_core.data.demonstrations.eligibility import Eligibility
from hpt_core.data.demonstrations.ingest import check, ingest
from hpt_core.data.demonstrations.teacher import from_samples
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import load_policy
from pipelines.params import Params
from pipelines.stage import raw_files
from pipelines.stage.base_logp import with_base_logp
from pipelines.stage.generation import build_verifier
from pipelines.stage.launch import launch
from pipelines.stage.regrade import RetryingVerifier
from pipelines.stage.teacher_sampling import Asked, Inputs, ask_teacher

log = logging.getLogger(__name__)
INPUTS, OUT = Inputs(), Path("data/experts")
KEPT = Path("checkpoints/experts@teacher")
"""Of the teacher's responses; the @ keeps it apart from the checkpoints of every arm."""


def run(params: Params, inputs: Inputs = INPUTS, out: Path = OUT) -> Mapping[str, Any]:
    """Write experts, quarantine and report to `out`; returns the report by source.

    What the teacher says is kept until all of it stands, and a server's responses for good: of the project's
    own `out` in KEPT and beside it, else within `out`.
    """
    config = params.experts
    check(config.sources)
    prompts = tables.read_prompts(inputs.train)
    chat = Chat(load_policy(inputs.base).tokenizer)

    def count_tokens(text: str) -> int:
        return len(chat.response(text))

    raw_files.warn_outside(raw_files.DATA, (source.file for source in config.sources))
    admission = Eligibility(count_tokens, config.licenses, config.max_tokens, config.scripts)
    asked: Asked | None = None
    with build_verifier(params) as verifier:
        patient = RetryingVerifier(params, verifier)
        ingested = {source.name: ingest(source, prompts, patient, admission) for source in config.sources}
        if params.teacher:
            kept = KEPT if out == OUT else out / ".teacher"
            asked = ask_teacher(params, params.teacher, inputs, chat, kept, verifier)
            ingested["teacher"] = from_samples(asked.responses, len(prompts), asked.teacher, admission)
    accepted = [trajectory for part in ingested.values() for trajectory in part.trajectories]
    if config.base_logp:
        accepted = with_base_logp(load_policy(inputs.base), accepted, prompts)
    trajectories = [tables.as_row(trajectory) for trajectory in accepted]
    rejects = [reject.quarantine("experts") for part in ingested.values() for reject in part.rejects]
    tables.write(out / "experts.parquet", trajectories, tables.EXPERTS)
    too_long = asked.too_long if asked else []
    tables.write(out / "quarantine.parquet", [*too_long, *rejects], tables.QUARANTINE)
    report = {
        name: part.report | without_expert(trajectories, name, inputs.pass_rates, params.rollout.group_size)
        for name, part in ingested.items()
    }
    if asked:
        report["teacher"] |= {
            "unasked": asked.unasked,
            "prompts_too_long": len(asked.too_long),
            "generated_tokens": asked.tokens,
        }
    tables.write_json(out / "report.json", report)
    if asked:
        asked.shards.discard()
    for name, counts in report.items():
        log.info("%s: in %d, kept %d, dropped %s", name, counts["in"], counts["kept"], counts["dropped"])
        if any(false := counts.get("contradicts", {}).values()):
            told = "%s: by the verifier %d of its marks of right are wrong, and %d of wrong are right"
            log.warning(told, name, *false)
    return {"report": report}


def without_expert(
    trajectories: Sequence[Mapping[str, Any]], source: str, pass_rates: Path, group_size: int
) -> dict[str, dict[str, int]]:
    """How many of the prompts that the gate sends to SFT have no expert, for each gamma.

    without_expert: none of this source; without_any_expert: none of any. As the starting policy's rollouts
    have it: P <= gamma.
    """
    every = {row["prompt_id"] for row in trajectories}
    mine = {row["prompt_id"] for row in trajectories if row["source"] == source}
    rates = tables.read(pass_rates, tables.PASS_RATES)

    def lacking(covered: set[str]) -> dict[str, int]:
        missing = [row["pass_rate"] for row in rates if row["prompt_id"] not in covered]
        return {
            f"{solved}/{group_size}": sum(rate <= solved / group_size for rate in missing)
            for solved in range(group_size)
        }

    return {"without_expert": lacking(mine), "without_any_expert": lacking(every)}


def main() -> None:
    """Entry point of `python -m pipelines.experts`."""
    launch("experts", run)


if __name__ == "__main__":
    main()
