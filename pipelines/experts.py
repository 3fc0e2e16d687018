"""Stage `experts`: human, program and teacher solutions -> verified (or wrong) trajectories."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpt_core import tables
from hpt_core.config import TeacherConfig
from hpt_core.data.demonstrations.eligibility import Eligibility
from hpt_core.data.demonstrations.ingest import check, ingest
from hpt_core.data.demonstrations.report import Ingested
from hpt_core.data.demonstrations.teacher import Teacher, from_samples
from hpt_core.files import write_json
from hpt_core.formula import at_least
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import load_policy
from hpt_core.types import Prompt
from hpt_core.verifier import check_kind
from pipelines.params import Params
from pipelines.paths import (
    BASE_MODEL,
    BASE_ROLLOUTS,
    EXPERTS,
    EXPERTS_DISTANCE,
    EXPERTS_FOLDER,
    EXPERTS_REPORT,
    LEFT_OUT_PROMPTS,
    PASS_RATES,
    TEACHER_FOLDER,
    TRAIN_PROMPTS,
)
from pipelines.stage import raw_files
from pipelines.stage.base_logp import with_base_logp
from pipelines.stage.distance import distance_by_source
from pipelines.stage.generation import build_verifier
from pipelines.stage.launch import launch
from pipelines.stage.regrade import RetryingVerifier
from pipelines.stage.teacher.files import Authorship, TeacherSamples, read_samples

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExpertInputs:
    """The files and folders that the stage reads, apart from the sources of experts."""

    train: Path = TRAIN_PROMPTS
    left_out: Path = LEFT_OUT_PROMPTS
    pass_rates: Path = PASS_RATES
    rollouts: Path = BASE_ROLLOUTS
    base: Path = BASE_MODEL
    teacher: Path = TEACHER_FOLDER


INPUTS = ExpertInputs()


def run(
    params: Params, inputs: ExpertInputs = INPUTS, out: Path = EXPERTS_FOLDER
) -> dict[str, dict[str, Any]]:
    """Write experts, quarantine, report and distances to `out`; returns the report by source."""
    config = params.experts
    check(config.sources)
    prompts = tables.read_prompts(inputs.train)
    ingested, samples = _ingest_all(params, inputs, prompts)
    kept = [trajectory for part in ingested.values() for trajectory in [*part.trajectories, *part.wrong]]
    if config.base_logp:
        kept = with_base_logp(load_policy(inputs.base), kept, prompts)
    trajectories = [tables.as_row(trajectory) for trajectory in kept]
    rejects = [reject.quarantine("experts") for part in ingested.values() for reject in part.rejects]
    tables.write(out / EXPERTS.name, trajectories, tables.EXPERTS)
    too_long = samples.too_long if samples else []
    tables.write(out / "quarantine.parquet", [*too_long, *rejects], tables.QUARANTINE)
    report: dict[str, dict[str, Any]] = {
        name: {
            **part.report,
            **without_expert(trajectories, name, inputs.pass_rates, params.rollout.group_size),
        }
        for name, part in ingested.items()
    }
    if samples:
        report["teacher"] |= {
            "unasked": samples.unasked,
            "prompts_too_long": len(samples.too_long),
            "generated_tokens": samples.tokens,
        }
    write_json(out / EXPERTS_REPORT.name, report)
    distance = {}
    if config.distance:
        policy = load_policy(inputs.base)
        distance = distance_by_source(policy, kept, prompts, inputs.rollouts, config.distance, params.seed)
    write_json(out / EXPERTS_DISTANCE.name, distance)
    _log(report)
    return report


def _ingest_all(
    params: Params, inputs: ExpertInputs, prompts: Sequence[Prompt]
) -> tuple[dict[str, Ingested], TeacherSamples | None]:
    """Source -> its trajectories and rejects, the source `teacher` last; and the teacher's samples."""
    config, left_out = params.experts, tables.read_left_out(inputs.left_out)
    for kind in {prompt.answer_kind for prompt in prompts}:
        check_kind(kind)
    chat = Chat(load_policy(inputs.base).tokenizer)

    def count_tokens(text: str) -> int:
        return len(chat.response(text))

    raw_files.warn_unseen("experts", (source.file for source in config.sources))
    eligibility = Eligibility(count_tokens, config.licenses, config.max_tokens, config.scripts)
    with build_verifier(params) as verifier:
        retrying = RetryingVerifier(params, verifier)
        ingested = {
            source.name: ingest(source, prompts, retrying, eligibility, left_out, config.wrong)
            for source in config.sources
        }
    if params.teacher is None:
        return ingested, None
    samples = read_samples(inputs.teacher, prompts)
    teacher = _teacher(params.teacher, samples.authorship, params.seed)
    ingested["teacher"] = from_samples(samples.responses, len(prompts), teacher, eligibility, config.wrong)
    return ingested, samples


def _teacher(config: TeacherConfig, authorship: Authorship, seed: int) -> Teacher:
    return Teacher(
        name="teacher",
        author=authorship["author"],
        license=config.license,
        sampling=config.sampling,
        seed=seed,
        chat_template=authorship["chat_template"],
        system_prompt=authorship["system_prompt"],
        keep=config.keep,
        not_sent=frozenset(authorship["not_sent"]),
        more_parameters=authorship["more_parameters"]
        | ({} if config.rewrite is None else {"rewrite": config.rewrite}),
    )


def _log(report: Mapping[str, Mapping[str, Any]]) -> None:
    for name, counts in report.items():
        log.info("%s: in %d, kept %d, dropped %s", name, counts["in"], counts["kept"], counts["dropped"])
        if turns := counts.get("unused_turns"):
            log.info("%s: rows with turns of a conversation that are not used: %s", name, turns)
        if any(contradictions := counts.get("contradicts", {}).values()):
            message = "%s: the verifier rejects %d responses marked right and accepts %d marked wrong"
            log.warning(message, name, *contradictions)


def without_expert(
    trajectories: Sequence[Mapping[str, Any]], source: str, pass_rates: Path, group_size: int
) -> dict[str, dict[str, int]]:
    """For each gamma, the number of prompts with P <= gamma, which the gate sends to SFT, without an expert.

    P is the pass rate of the starting policy. without_expert counts prompts without an expert of `source`,
    without_any_expert those without any expert.
    """
    right = [row for row in trajectories if row["verified"]]
    with_any = {row["prompt_id"] for row in right}
    with_source = {row["prompt_id"] for row in right if row["source"] == source}
    rates = tables.read_pass_rates(pass_rates)

    def lacking(covered: set[str]) -> dict[str, int]:
        missing = [rate for prompt, rate in rates.items() if prompt not in covered]
        return {
            f"{solved}/{group_size}": sum(at_least(solved / group_size, rate) for rate in missing)
            for solved in range(group_size)
        }

    return {"without_expert": lacking(with_source), "without_any_expert": lacking(with_any)}


def main() -> None:
    """Entry point of `python -m pipelines.experts`."""

    def body(params: Params) -> None:
        run(params)

    launch("experts", body)


if __name__ == "__main__":
    main()
