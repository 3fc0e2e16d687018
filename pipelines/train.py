"""Stage `train@ARM`: Hybrid Post-Training on one provenance mix."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hpt_core.adapter import with_lora
from hpt_core.chat import Chat
from hpt_core.data import tables
from hpt_core.data.provenance import choose
from hpt_core.errors import InputError
from hpt_core.model import LoadedPolicy, load_policy, save_policy, weights_hash
from hpt_core.protocols import MetricSink
from hpt_core.rollout.group import Task
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.loop import train
from hpt_core.trainer.origin import fingerprint
from hpt_core.trainer.provenance import summarise
from hpt_core.trainer.ranks import ALONE, Ranks, launched
from hpt_core.trainer.run import Run
from hpt_core.types import Prompt, Trajectory
from hpt_core.upge import algorithm
from pipelines import policy as policies
from pipelines.origin import code, file_hash, libraries, model_files
from pipelines.params import Params
from pipelines.policy import build_engine, build_verifier, fitting
from pipelines.progress import ProgressBar, StepProgress
from pipelines.ranks import member, start
from pipelines.stage import argument, check_name, launch
from pipelines.tracking import LiveSink

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Paths:
    """Inputs and outputs under one root."""

    root: Path = Path()

    @property
    def inputs(self) -> tuple[Path, Path, Path]:
        """Training prompts, dev prompts, expert trajectories."""
        prompts = self.root / "data/prompts"
        return prompts / "train.parquet", prompts / "dev.parquet", self.root / "data/experts/experts.parquet"

    @property
    def base(self) -> Path:
        return self.root / "models/base"

    def checkpoints(self, arm: str) -> Path:
        """Outside of the stage's outputs, which DVC removes before it runs the stage again."""
        return self.root / "checkpoints" / arm


def run(
    params: Params,
    arm: str,
    paths: Paths = Paths(),
    sinks: Sequence[MetricSink] = (),
    ranks: Ranks = ALONE,
) -> Mapping[str, Any]:
    """Train `arm`, from its newest checkpoint where there is one; the main rank writes the outputs."""
    policy = load_policy(paths.base)
    made_of = origin(params, arm, policy, paths)
    checkpoints = Checkpoints(paths.checkpoints(arm), fingerprint(made_of), made_of, ranks)
    tasks, dev, left_out = load_tasks(params, arm, policy, paths)
    steps = params.train.steps
    _check_room(tasks, params, policy)
    engine = build_engine(params, _sampled(policy, params, ranks))
    if params.train.lora is not None:
        policy = with_lora(policy, params.train.lora, params.seed)
    with build_verifier(params) as verifier, _progress(arm, steps, ranks) as shown:
        job = Run(
            policy=policy,
            engine=engine,
            verifier=verifier,
            tasks=tasks,
            dev=dev,
            config=params.train,
            rollout=params.rollout,
            seed=params.seed,
            ranks=ranks,
        )
        seconds = train(job, checkpoints, Tee(*shown, *sinks))
    save_policy(policy, paths.root / "models" / arm, write=ranks.main)
    if not ranks.main:
        return {"seconds": seconds}
    out = paths.root / "data/rollouts" / arm
    tables.write(out / "rollouts.parquet", checkpoints.rows("rollouts", steps), tables.ROLLOUTS)
    tables.write(out / "gate.parquet", checkpoints.rows("gate", steps), tables.GATE)
    tables.write(out / "quarantine.parquet", left_out, tables.QUARANTINE)
    told = checkpoints.metrics(steps)
    tables.write_json(out / "provenance.json", summarise(checkpoints.rows("gate", steps), told))
    metrics = "".join(json.dumps(row) + "\n" for row in told)
    tables.write_text(paths.root / "metrics/train" / f"{arm}.jsonl", metrics)
    checkpoints.discard()
    return {"seconds": seconds, "result": hashlib.md5(metrics.encode()).hexdigest()}


def _check_room(tasks: Sequence[Task], params: Params, policy: LoadedPolicy) -> None:
    """Raises InputError where the model has no positions for a demonstration, or for what follows it."""
    room: int = policy.model.config.max_position_embeddings
    hinted = "hint" in algorithm(params.train.algorithm).needs
    after = params.rollout.max_new_tokens if hinted else 0
    longest = max(len(task.tokens) + len(task.demonstration) + after for task in tasks)
    if longest > room:
        raise InputError(
            f"train: a prompt with its demonstration{' as a hint and a rollout' if hinted else ''} has "
            f"{longest} tokens, and the model has {room} positions; lower experts.max_tokens in params.yaml"
        )


@contextmanager
def _progress(arm: str, steps: int, ranks: Ranks) -> Iterator[list[MetricSink]]:
    """A bar, on the main rank."""
    if not ranks.main:
        yield []
        return
    with ProgressBar(f"train {arm}", steps) as bar:
        yield [StepProgress(bar)]


def _sampled(policy: LoadedPolicy, params: Params, ranks: Ranks) -> LoadedPolicy:
    """What the engine holds: the policy itself, or a copy of one that will be sharded or get adapters."""
    shared = ranks.count == 1 and params.train.lora is None
    return policy if shared else policy._replace(model=copy.deepcopy(policy.model))


class Tee:
    """A `MetricSink` that hands on to several."""

    def __init__(self, *sinks: MetricSink) -> None:
        self.sinks = sinks

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for sink in self.sinks:
            sink.log(step, metrics)


def load_tasks(
    params: Params, arm: str, policy: LoadedPolicy, paths: Paths
) -> tuple[list[Task], list[Task], list[dict[str, Any]]]:
    """Training prompts with this arm's experts, dev prompts, and quarantine rows of those too long."""
    train_path, dev_path, experts_path = paths.inputs
    chat, prompts, dev = (
        Chat(policy.tokenizer),
        tables.read_prompts(train_path),
        tables.read_prompts(dev_path),
    )
    by_prompt: defaultdict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in tables.read_experts(experts_path):
        by_prompt[trajectory.prompt_id].append(trajectory)
    tokens, too_long = fitting(chat, prompts, params, "train", train_path)
    dev_tokens, dev_too_long = fitting(chat, dev, params, "train", dev_path)

    def task(prompt: Prompt) -> Task:
        expert = choose(by_prompt.get(prompt.prompt_id, []), params.arms[arm].mix, params.seed)
        demonstration = chat.response(expert.response) if expert else []
        return Task(prompt, tokens[prompt.prompt_id], expert, demonstration)

    tasks = [task(prompt) for prompt in prompts if prompt.prompt_id in tokens]
    with_expert = sum(t.expert is not None for t in tasks)
    log.info(
        "%s: %d prompts, %d with an expert, %d left to RL alone",
        arm,
        len(tasks),
        with_expert,
        len(tasks) - with_expert,
    )
    held_back = [Task(p, dev_tokens[p.prompt_id], None, []) for p in dev if p.prompt_id in dev_tokens]
    return tasks, held_back, [*too_long, *dev_too_long]


def origin(params: Params, arm: str, policy: LoadedPolicy, paths: Paths) -> dict[str, Any]:
    """All that decides the run, by name, code included; how many ranks share the work does not."""
    used = params.model_dump(mode="json", include={"seed", "threads", "rollout", "train", "verifier"})
    del used["train"]["ranks"]
    return {
        **used,
        "arm": params.arms[arm].model_dump(mode="json"),
        "models/base": {"weights": weights_hash(policy.model), **model_files(paths.base)},
        "data": {path.stem: file_hash(path) for path in paths.inputs},
        "code": code(__file__, policies.__file__),
        **libraries(params.rollout.engine),
    }


def main() -> None:
    """Entry point of `python -m pipelines.train ARM`, and of each of its ranks."""
    arm = argument()

    def body(params: Params) -> Mapping[str, Any]:
        check_name(arm, params.arms)
        if params.train.ranks > 1 and not launched():
            sys.exit(start(params.train.ranks, ["-m", "pipelines.train", arm], params.threads))
        with member() as ranks:
            torch.set_num_threads(params.threads)  # accelerate has a view of its own
            report = run(params, arm, sinks=[LiveSink(arm)] if ranks.main else [], ranks=ranks)
        if not ranks.main:
            sys.exit()
        return report

    launch(f"train@{arm}", body)


if __name__ == "__main__":
    main()
