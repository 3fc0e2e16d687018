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
from hpt_core.data.experts import Ingested, ingest
from hpt_core.data.teacher import Teacher, from_samples
from hpt_core.model import load_policy
from hpt_core.protocols import Verifier
from hpt_core.seeds import derive
from hpt_core.types import Prompt
from pipelines import raw
from pipelines.params import Params, TeacherConfig
from pipelines.policy import build_engine, build_verifier, fitting
from pipelines.progress import ProgressBar
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
    with build_verifier(params) as verifier:
        ingested = {
            source.name: ingest(source, prompts, verifier, count_tokens, config.licenses, config.max_tokens)
            for source in config.sources
        }
        if params.teacher:
            chosen = hardest_first(prompts, inputs.pass_rates)
            ingested["teacher"] = ask_teacher(
                params, params.teacher, chosen, inputs.teacher, verifier, count_tokens
            )
    trajectories = [tables.as_row(t) for part in ingested.values() for t in part.trajectories]
    rejects = [reject.quarantine("experts") for part in ingested.values() for reject in part.rejects]
    tables.write(out / "experts.parquet", trajectories, tables.EXPERTS)
    tables.write(out / "quarantine.parquet", rejects, tables.QUARANTINE)
    report = {name: part.report for name, part in ingested.items()}
    tables.write_json(out / "report.json", report)
    for name, counts in report.items():
        log.info("%s: in %d, kept %d, dropped %s", name, counts["in"], counts["kept"], counts["dropped"])
    return {"report": report}


def hardest_first(prompts: Sequence[Prompt], pass_rates: Path) -> list[Prompt]:
    """The prompts in order of the starting policy's pass rate, those it fails on first."""
    rates = {row["prompt_id"]: row["pass_rate"] for row in tables.read(pass_rates, tables.PASS_RATES)}
    return sorted(
        (p for p in prompts if p.prompt_id in rates), key=lambda p: (rates[p.prompt_id], p.prompt_id)
    )


def ask_teacher(
    params: Params,
    config: TeacherConfig,
    prompts: Sequence[Prompt],
    folder: Path,
    verifier: Verifier,
    count_tokens: Any,
) -> Ingested:
    """`samples` responses of the teacher to each prompt, kept where the verifier accepts one."""
    policy = load_policy(folder)
    engine = build_engine(params, policy)
    tokens, _ = fitting(Chat(policy.tokenizer), prompts, params, "teacher")
    asked = [prompt for prompt in prompts if prompt.prompt_id in tokens]
    sampling = Sampling(temperature=config.temperature, max_new_tokens=config.max_new_tokens)
    completions, verdicts = [], []
    size = max(1, params.rollout.slots // config.samples)
    with ProgressBar("teacher", len(asked)) as bar:
        for start in range(0, len(asked), size):
            part = asked[start : start + size]
            pairs = [(prompt, i) for prompt in part for i in range(config.samples)]
            seeds = [derive(params.seed, "teacher", prompt.prompt_id, i) for prompt, i in pairs]
            done = engine.generate([tokens[prompt.prompt_id] for prompt, _ in pairs], seeds, sampling)
            judged = verifier.verify(
                [
                    (c.response, prompt.answer, prompt.answer_kind)
                    for c, (prompt, _) in zip(done, pairs, strict=True)
                ]
            )
            for first in range(0, len(pairs), config.samples):
                completions.append(done[first : first + config.samples])
                verdicts.append(judged[first : first + config.samples])
            bar.advance(len(part))
    name = config.policy.model or "warm-start"
    author = f"{name}@{config.policy.revision or engine.policy}"
    teacher = Teacher("teacher", author, config.license, sampling, params.seed)
    limits = params.experts
    return from_samples(
        asked, completions, verdicts, teacher, count_tokens, limits.licenses, limits.max_tokens
    )


def main() -> None:
    """Entry point of `python -m pipelines.experts`."""
    launch("experts", run)


if __name__ == "__main__":
    main()
