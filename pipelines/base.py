"""Stages `base` and `teacher`: the folder of a policy, copied from a pretrained one or warm-started here.

Without a teacher policy, models/teacher_policy has one file: it names the served teacher, or null for none.
"""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path

from hpt_core import tables
from hpt_core.config import Policy, WarmStart
from hpt_core.data.demonstrations.program_solutions import program_solution
from hpt_core.data.problems import overlap_key, prompt_id
from hpt_core.data.reading.records import Reject
from hpt_core.data.reading.sources import read_rows
from hpt_core.errors import InputError
from hpt_core.files import read_text, write_json
from hpt_core.policy.chat import lasting_template
from hpt_core.policy.loading.checked import resolve_commit
from hpt_core.policy.model import LoadedPolicy, load_policy, save_policy, stop_tokens
from hpt_core.policy.template_checks import template_findings
from hpt_core.policy.warm_start import build_policy, train_warm_start
from hpt_core.rollout.engines.decoding import find_way
from hpt_core.seeds import derive
from hpt_core.types import Prompt
from pipelines.params import Params
from pipelines.paths import BASE_MODEL, BENCHMARK_PROMPTS, DEV_PROMPTS, PROMPTS_FOLDER, TEACHER_MODEL
from pipelines.stage import raw_files
from pipelines.stage.launch import argument, check_name, launch
from pipelines.stage.progress import ProgressBar

log = logging.getLogger(__name__)


def run(params: Params, which: str, out: Path, prompts: Path = PROMPTS_FOLDER) -> None:
    """Write the policy `which` ("base" or "teacher") to `out`. Raises InputError."""
    check_name(which, ["base", "teacher"])
    teacher = params.teacher.policy if params.teacher else None
    config = params.base if which == "base" else teacher
    if config is None:
        endpoint = params.teacher and params.teacher.endpoint
        served = endpoint.model_dump(include={"model", "revision"}) if endpoint else None
        write_json(out / "teacher.json", {"teacher": served})
        return
    commit = None
    if config.warm_start:
        policy = warm_start(config.warm_start, derive(params.seed, which), prompts, which)
    else:
        commit = commit_of(config)
        policy = pretrained(config, commit)
    if params.rollout.engine == "hf":  # A model that it cannot sample is refused here, two stages early.
        find_way(policy.model, policy.tokenizer.pad_token_id)
    settle_template(policy, config, which)
    save_policy(policy, out)
    if config.model and commit:
        write_json(out / "hub.json", {"model": config.model, "commit": commit})


def settle_template(policy: LoadedPolicy, config: Policy, name: str) -> None:
    """Give the policy the template and the end tokens that it keeps from here on, and check them.

    Raises InputError, on one line, where problems or demonstrations would not be what they are taken for.
    """
    policy.tokenizer.chat_template = lasting_template(
        policy.tokenizer.chat_template, date.fromisoformat(config.template_date), config.system_prompt
    )
    for finding in template_findings(policy.tokenizer, config.system_prompt):
        if finding.verdict == "refused":
            raise InputError(f"{name} {config.model or 'warm_start'!r}: {finding.detail}")
        if finding.verdict == "warning":
            log.warning("%s %r: %s", name, config.model or "warm_start", finding.detail)
    # Whoever samples the saved folder then stops where the engines here do.
    stops, generation = stop_tokens(policy), policy.model.generation_config
    configured = getattr(generation, "eos_token_id", None)
    if generation is not None and stops != {*(configured if isinstance(configured, list) else [configured])}:
        generation.eos_token_id = sorted(stops)


def commit_of(config: Policy) -> str | None:
    """The commit of a model of the hub, from which all of its files are then read; None for a folder."""
    if config.model is None or Path(config.model).is_dir():
        return None
    commit = resolve_commit(config.model, config.revision)
    if commit != config.revision:
        log.warning("%s is commit %s today; give it as `revision` to train it again", config.model, commit)
    return commit


def pretrained(config: Policy, commit: str | None = None) -> LoadedPolicy:
    """The policy of a local folder, or of the hub at `commit`. Raises InputError."""
    assert config.model is not None
    raw_files.warn_outside(raw_files.MODELS, (config.model, config.chat_template))
    template = None
    if config.chat_template:
        template = read_text(Path(config.chat_template), "correct chat_template in params.yaml")
    folder = Path(config.model)
    return load_policy(
        folder if folder.is_dir() else config.model,
        revision=commit or config.revision,
        chat_template=template,
    )


def warm_start(config: WarmStart, seed: int, prompts: Path, name: str) -> LoadedPolicy:
    """A small policy, trained on solutions of `config.sources` except benchmark and dev problems."""
    files = (prompts / path.name for path in (BENCHMARK_PROMPTS, DEV_PROMPTS))
    held_out = {overlap_key(row["problem"]) for file in files for row in tables.read(file)}
    lessons = [
        (prompt.problem, solution)
        for prompt in _prompts(config)
        if overlap_key(prompt.problem) not in held_out
        and (solution := program_solution(prompt, config.wording))
    ]
    if not lessons:
        raise InputError(
            f"{name}.warm_start.sources: no problem of them has a program that solves it; "
            "hpt_core/data/demonstrations/program_solutions.py has the kinds that have one"
        )
    policy = build_policy(config, [text for lesson in lessons for text in lesson], seed)
    with ProgressBar(f"warm-start {name}", config.steps) as bar:
        train_warm_start(policy, lessons, config, seed, lambda step, nll: bar.advance(nll=nll))
    return policy


def _prompts(config: WarmStart) -> list[Prompt]:
    prompts = []
    for source in config.sources:
        for row in read_rows(source):
            if isinstance(row, Reject):
                raise InputError(f"{row.file}:{row.line}: {row.reason}: {row.detail}")
            problem, answer = row.values["problem"], row.values["answer"]
            prompts.append(
                Prompt(prompt_id(problem), problem, answer, source.verifier_kind, source.name, source.license)
            )
    return prompts


def main() -> None:
    """Entry point of `python -m pipelines.base {base,teacher}`."""
    which = argument()
    out = BASE_MODEL if which == "base" else TEACHER_MODEL
    launch(which, lambda params: run(params, which, out))


if __name__ == "__main__":
    main()
