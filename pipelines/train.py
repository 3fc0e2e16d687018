"""Stage `train@ARM`: Hybrid Post-Training on one provenance mix."""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from hpt_core import tables
from hpt_core.fingerprint import code, file_hash, fingerprint, libraries, model_files
from hpt_core.policy.lora import with_lora
from hpt_core.policy.model import LoadedPolicy, load_policy, save_policy, weights_hash
from hpt_core.protocols import MetricSink
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.loop import train
from hpt_core.trainer.ranks import ALONE, Ranks, launched
from hpt_core.trainer.source_stats import summarise
from pipelines.params import Params
from pipelines.stage import generation as policies
from pipelines.stage import training_data as tasks_of
from pipelines.stage.generation import build_engine, build_verifier
from pipelines.stage.launch import argument, check_name, launch
from pipelines.stage.progress import ProgressBar, StepProgress
from pipelines.stage.rank_processes import member, start
from pipelines.stage.training_data import HERE, Paths, check_room, load_tasks
from pipelines.tracking.live import LiveSink


def run(
    params: Params,
    arm: str,
    paths: Paths = HERE,
    sinks: Sequence[MetricSink] = (),
    ranks: Ranks = ALONE,
) -> Mapping[str, Any]:
    """Train `arm`, from its newest checkpoint where there is one; the main rank writes the outputs."""
    policy = load_policy(paths.base)
    inputs = run_inputs(params, arm, policy, paths)
    checkpoints = Checkpoints(paths.checkpoints(arm), fingerprint(inputs), inputs, ranks)
    tasks, dev, left_out = load_tasks(params, arm, policy, paths)
    steps = params.train.steps
    check_room(tasks, params, policy)
    engine = build_engine(params, _sampled(policy, params, ranks))
    if params.train.lora is not None:
        policy = with_lora(policy, params.train.lora, params.seed)
    with build_verifier(params) as verifier, _progress(arm, steps, ranks) as shown:
        job = TrainContext(
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


def run_inputs(params: Params, arm: str, policy: LoadedPolicy, paths: Paths) -> dict[str, Any]:
    """All that decides the run, by name, code included; how many ranks share the work does not."""
    data = paths.inputs if params.train.difficulty is None else (*paths.inputs, paths.pass_rates)
    used = params.model_dump(mode="json", include={"seed", "threads", "rollout", "train", "verifier"})
    del used["train"]["ranks"]
    return {
        **used,
        "arm": params.arms[arm].model_dump(mode="json"),
        "models/base": {"weights": weights_hash(policy.model), **model_files(paths.base)},
        "data": {path.stem: file_hash(path) for path in data},
        "code": code(__file__, policies.__file__, tasks_of.__file__),
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
