"""Stage `train@ARM`: Hybrid Post-Training on one provenance mix."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from hpt_core import tables
from hpt_core.files import write_json, write_text
from hpt_core.fingerprint import code_hash, file_hash, fingerprint, library_versions, model_file_hashes
from hpt_core.policy.lora import with_lora
from hpt_core.policy.model import load_policy, save_policy, weights_hash
from hpt_core.policy.weights.adapters import check_served_layers
from hpt_core.policy.weights.host_memory import page_out
from hpt_core.protocols import MetricSink
from hpt_core.trainer.checkpoint import Checkpoints
from hpt_core.trainer.context import TrainContext
from hpt_core.trainer.loop import train
from hpt_core.trainer.measures.source_stats import summarise
from hpt_core.trainer.ranks import ALONE, Ranks, launched
from hpt_core.trainer.sharding import spread
from hpt_core.verifier import installed_versions
from pipelines.params import Params
from pipelines.paths import model, rollouts, training_metrics
from pipelines.stage import generation, training_data
from pipelines.stage.generation import build_verifier
from pipelines.stage.launch import StageReport, argument, check_name, launch
from pipelines.stage.progress import ProgressBar, StepProgress
from pipelines.stage.rank_processes import joined_ranks, start
from pipelines.stage.regrade import PatientVerifier
from pipelines.stage.training_data import PROJECT, TrainingFiles, check_room, load_tasks
from pipelines.stage.training_sampler import training_engine
from pipelines.tracking.live import LiveSink


def run(
    params: Params,
    arm: str,
    paths: TrainingFiles = PROJECT,
    sinks: Sequence[MetricSink] = (),
    ranks: Ranks = ALONE,
) -> StageReport:
    """Train `arm`, from its newest checkpoint if there is one; the main rank writes the outputs."""
    ranks = ranks.sharing_rows(params.train.context_parallel)
    # Among ranks the weights are in the main rank's host memory until they are sharded.
    device = None if ranks.count == 1 else "cpu"
    policy = spread(lambda: load_policy(paths.base, device=device), ranks)
    inputs = run_inputs(params, arm, ranks.from_main(lambda: weights_hash(policy.model)), paths)
    if ranks.count > 1:
        # They are read again from their file when they are sharded, and engines are started before that.
        page_out(policy.model.parameters())
    checkpoints = Checkpoints(paths.checkpoints(arm), fingerprint(inputs), inputs, ranks)
    tasks, dev, left_out = load_tasks(params, arm, policy, paths)
    steps = params.train.steps
    check_room(tasks, params, policy)
    with (
        training_engine(params, policy, paths.base, ranks) as engine,
        build_verifier(params) as verifier,
        _progress(arm, steps, ranks) as bars,
    ):
        if (lora := params.train.lora) is not None:
            policy = spread(lambda: with_lora(policy, lora, params.seed), ranks)
            if params.rollout.vllm.lora:
                check_served_layers(policy.model)
        context = TrainContext(
            policy=policy,
            engine=engine,
            verifier=PatientVerifier(params, verifier),
            tasks=tasks,
            dev=dev,
            config=params.train,
            rollout=params.rollout,
            seed=params.seed,
            ranks=ranks,
        )
        seconds = train(context, checkpoints, Tee(*bars, *sinks))
    save_policy(policy, paths.root / model(arm), write=ranks.main)
    if not ranks.main:
        return {"seconds": seconds}
    out = paths.root / rollouts(arm)
    tables.write(out / "rollouts.parquet", checkpoints.rows("rollouts", steps), tables.TRAINING_ROLLOUTS)
    tables.write(out / "gate.parquet", checkpoints.rows("gate", steps), tables.GATE)
    tables.write(out / "quarantine.parquet", left_out, tables.QUARANTINE)
    metrics = checkpoints.metrics(steps)
    write_json(out / "provenance.json", summarise(checkpoints.gate_rows(steps), metrics))
    lines = "".join(json.dumps(row) + "\n" for row in metrics)
    write_text(paths.root / training_metrics(arm), lines)
    checkpoints.discard()
    return {"seconds": seconds, "result": hashlib.md5(lines.encode()).hexdigest()}


@contextmanager
def _progress(arm: str, steps: int, ranks: Ranks) -> Iterator[list[MetricSink]]:
    """A progress bar on the main rank, none on the others."""
    if not ranks.main:
        yield []
        return
    with ProgressBar(f"train {arm}", steps) as bar:
        yield [StepProgress(bar)]


class Tee:
    """A `MetricSink` that forwards to several."""

    def __init__(self, *sinks: MetricSink) -> None:
        self.sinks = sinks

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for sink in self.sinks:
            sink.log(step, metrics)


def run_inputs(params: Params, arm: str, weights: str, paths: TrainingFiles) -> dict[str, Any]:
    """All that decides the result, by name, code included; the numbers of ranks and replicas do not, nor who
    shares rows, how long a replica is waited for, and where the optimizer's moments wait.

    `weights` is the hash of the starting policy's.
    """
    data = {
        "train": paths.train,
        "dev": paths.dev,
        "demonstrations": paths.demonstrations(arm),
        **({} if params.train.difficulty is None else {"pass_rates": paths.pass_rates}),
    }
    parameters = params.model_dump(mode="json", include={"seed", "threads", "rollout", "train", "verifier"})
    for key in ("ranks", "context_parallel", "offload"):
        del parameters["train"][key]
    for key in ("placement", "replicas", "replica_timeout_s"):
        del parameters["rollout"][key]
    return {
        **parameters,
        "arm": params.arms[arm].model_dump(mode="json"),
        "models/base": {"weights": weights, **model_file_hashes(paths.base)},
        "data": {name: file_hash(path) for name, path in data.items()},
        "code": code_hash(__file__, generation.__file__, training_data.__file__),
        "verifiers": installed_versions(_answer_kinds(paths)),
        **library_versions(params.rollout.engine),
    }


def _answer_kinds(paths: TrainingFiles) -> set[str]:
    """The kinds of the training prompts and the dev prompts."""
    files = (paths.train, paths.dev)
    return {row["answer_kind"] for file in files for row in tables.read(file, columns=["answer_kind"])}


def main() -> None:
    """Entry point of `python -m pipelines.train ARM`, and of each of its ranks."""
    arm = argument()

    def body(params: Params) -> StageReport:
        check_name(arm, params.arms)
        if params.train.ranks > 1 and not launched():
            sys.exit(start(params.train.ranks, ["-m", "pipelines.train", arm], params.threads))
        with joined_ranks() as ranks:
            torch.set_num_threads(params.threads)  # accelerate sets its own number of threads
            report = run(params, arm, sinks=[LiveSink(arm)] if ranks.main else [], ranks=ranks)
        if not ranks.main:
            sys.exit()
        return report

    launch(f"train@{arm}", body)


if __name__ == "__main__":
    main()
