"""Stage `experts`: people's, programs' and the teacher's solutions -> verified trajectories."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpt_core.chat import Chat
from hpt_core.config import Sampling
from hpt_core.data import tables
from hpt_core.data.experts import Admission, Ingested, ingest
from hpt_core.data.teacher import Teacher, from_samples
from hpt_core.model import load_policy
from hpt_core.protocols import Verifier
from hpt_core.types import Prompt
from pipelines import raw
from pipelines.params import Params, TeacherConfig
from pipelines.policy import Asking, ask, build_engine, build_verifier, fitting
from pipelines.stage import launch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    train: Path = Path("data/prompts/train.parquet")
    pass_rates: Path = Path("data/rollouts/base/pass_rates.parquet")
    base: Path = Path("models/base")
    teacher: Path = Path("models/teacher_policy")


def run(params: Params, inputs: Inputs = Inputs(), out: Path = Path("data/experts")) -> Mapping[str, Any]:
    """Write experts, quarantine and report to `out`; returns the report by source."""
    prompts = tables.read_prompts(inputs.train)
    chat = Chat(load_policy(inputs.base).tokenizer)

    def count_tokens(text: str) -> int:
        return len(chat.response(text))

    config = params.experts
    raw.warn_outside(raw.DATA, (source.file for source in config.sources))
    too_long: list[dict[str, Any]] = []
    with build_verifier(params) as verifier:
        ingested = {
            source.name: ingest(source, prompts, verifier, count_tokens, config.licenses, config.max_tokens)
            for source in config.sources
        }
        if params.teacher:
            admission = Admission(count_tokens, config.licenses, config.max_tokens)
            ingested["teacher"], too_long = ask_teacher(params, params.teacher, inputs, verifier, admission)
    trajectories = [tables.as_row(t) for part in ingested.values() for t in part.trajectories]
    rejects = [reject.quarantine("experts") for part in ingested.values() for reject in part.rejects]
    tables.write(out / "experts.parquet", trajectories, tables.EXPERTS)
    tables.write(out / "quarantine.parquet", [*too_long, *rejects], tables.QUARANTINE)
    report = {
        name: part.report | without_expert(trajectories, name, inputs.pass_rates, params.rollout.group_size)
        for name, part in ingested.items()
    }
    tables.write_json(out / "report.json", report)
    for name, counts in report.items():
        log.info("%s: in %d, kept %d, dropped %s", name, counts["in"], counts["kept"], counts["dropped"])
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


def hardest_first(prompts: Sequence[Prompt], pass_rates: Path) -> list[Prompt]:
    """The prompts in order of the starting policy's pass rate; one without counts as never solved."""
    rates = {row["prompt_id"]: row["pass_rate"] for row in tables.read(pass_rates, tables.PASS_RATES)}
    return sorted(prompts, key=lambda prompt: (rates.get(prompt.prompt_id, 0.0), prompt.prompt_id))


def ask_teacher(
    params: Params, config: TeacherConfig, inputs: Inputs, verifier: Verifier, admission: Admission
) -> tuple[Ingested, list[dict[str, Any]]]:
    """The shortest verified response to each prompt, and quarantine rows of prompts too long to ask."""
    policy, prompts = load_policy(inputs.teacher), tables.read_prompts(inputs.train)
    engine = build_engine(params, policy)
    tokens, too_long = fitting(Chat(policy.tokenizer), prompts, params, "experts", inputs.train)
    order = [p for p in hardest_first(prompts, inputs.pass_rates) if p.prompt_id in tokens]
    sampling = Sampling(temperature=config.temperature, max_new_tokens=config.max_new_tokens)
    asking = Asking("teacher", config.samples, sampling, params.seed)
    given = list(ask(engine, verifier, {prompt: tokens[prompt.prompt_id] for prompt in order}, asking))
    model = config.policy.model
    # A folder's path is this machine's business; its name and the weights' hash say what it is.
    name = Path(model).name if model and Path(model).is_dir() else model or "warm-start"
    author = f"{name}@{config.policy.revision or engine.policy}"
    teacher = Teacher("teacher", author, config.license, sampling, params.seed)
    return from_samples(given, len(prompts), teacher, admission), too_long


def main() -> None:
    """Entry point of `python -m pipelines.experts`."""
    launch("experts", run)


if __name__ == "__main__":
    main()
