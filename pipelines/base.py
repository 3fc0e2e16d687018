"""Stages `base` and `teacher`: a pretrained policy copied, or a small one warm-started, as a folder.

Of a teacher behind a server, or of none, the folder says no more than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpt_core import tables
from hpt_core.config import Policy, WarmStart
from hpt_core.data.demonstrations.program_solutions import program_solution
from hpt_core.data.problems import overlap_key, prompt_id
from hpt_core.data.reading.records import Reject
from hpt_core.data.reading.sources import read_rows
from hpt_core.errors import InputError
from hpt_core.policy.chat import with_system_prompt
from hpt_core.policy.model import LoadedPolicy, load_policy, save_policy
from hpt_core.policy.warm_start import build_policy, teach
from hpt_core.seeds import derive
from hpt_core.types import Prompt
from pipelines.params import Params
from pipelines.stage import raw_files
from pipelines.stage.launch import argument, check_name, launch
from pipelines.stage.progress import ProgressBar

PROMPTS = Path("data/prompts")


def run(params: Params, which: str, out: Path, prompts: Path = PROMPTS) -> Mapping[str, Any]:
    """Write the policy `which` ("base" or "teacher") to `out`. Raises InputError."""
    check_name(which, ["base", "teacher"])
    teacher = params.teacher.policy if params.teacher else None
    config = params.base if which == "base" else teacher
    if config is None:
        served = params.teacher and params.teacher.endpoint
        said = served.model_dump(include={"model", "revision"}) if served else None
        tables.write_json(out / "teacher.json", {"teacher": said})
        return {}
    if config.warm_start:
        policy = warm_start(config.warm_start, derive(params.seed, which), prompts, which)
    else:
        policy = pretrained(config)
    if config.system_prompt:
        policy.tokenizer.chat_template = with_system_prompt(
            policy.tokenizer.chat_template, config.system_prompt
        )
    save_policy(policy, out)
    return {}


def pretrained(config: Policy) -> LoadedPolicy:
    assert config.model is not None
    raw_files.warn_outside(raw_files.MODELS, (config.model, config.chat_template))
    template = None
    if config.chat_template:
        try:
            template = Path(config.chat_template).read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"{config.chat_template}: {error.strerror}; correct chat_template in params.yaml"
            ) from error
    local = Path(config.model)
    return load_policy(
        local if local.is_dir() else config.model, revision=config.revision, chat_template=template
    )


def warm_start(config: WarmStart, seed: int, prompts: Path, name: str) -> LoadedPolicy:
    """A small policy taught the worked solutions of `config.sources`, less benchmark and dev problems."""
    measured = ("benchmarks.parquet", "dev.parquet")
    held_out = {overlap_key(row["problem"]) for file in measured for row in tables.read(prompts / file)}
    lessons = [
        (prompt.problem, solution)
        for prompt in _prompts(config)
        if overlap_key(prompt.problem) not in held_out and (solution := program_solution(prompt))
    ]
    if not lessons:
        raise InputError(
            f"{name}.warm_start.sources: code writes solutions of none of them; see hpt_core/data/worked.py"
        )
    policy = build_policy(config, [text for lesson in lessons for text in lesson], seed)
    with ProgressBar(f"warm-start {name}", config.steps) as bar:
        teach(policy, lessons, config, seed, lambda step, nll: bar.advance(nll=nll))
    return policy


def _prompts(config: WarmStart) -> list[Prompt]:
    prompts = []
    for source in config.sources:
        for row in read_rows(source):
            if isinstance(row, Reject):
                raise InputError(f"{row.file}:{row.line}: {row.reason}: {row.detail}")
            kind = source.answer_kind or f"reasoning_gym:{source.reasoning_gym}"
            problem = row.values["problem"]
            prompts.append(
                Prompt(prompt_id(problem), problem, row.values["answer"], kind, source.name, source.license)
            )
    return prompts


def main() -> None:
    """Entry point of `python -m pipelines.base {base,teacher}`."""
    which = argument()
    # An arm may be called teacher, and models/ARM is its.
    out = Path("models/base" if which == "base" else "models/teacher_policy")
    launch(which, lambda params: run(params, which, out))


if __name__ == "__main__":
    main()
