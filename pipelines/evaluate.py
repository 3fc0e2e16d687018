"""Stages `evaluate@ARM` and `evaluate_base`: avg@k and pass@k on the benchmarks of `curate`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from hpt_core import tables
from hpt_core.config import Sampling
from hpt_core.errors import EngineError, InputError, VerifierError
from hpt_core.evaluation import BenchmarkResult, summarise
from hpt_core.files import write_json
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy, load_policy
from hpt_core.protocols import RolloutEngine, Verifier
from hpt_core.seeds import derive
from hpt_core.types import Prompt, Responses
from pipelines.params import Params
from pipelines.paths import BENCHMARK_PROMPTS, checkpoints, evaluation_metrics, evaluation_responses, model
from pipelines.stage.evaluation_settings import published_settings, settings
from pipelines.stage.generation import (
    SamplingRequest,
    build_verifier,
    chunk,
    sample_and_verify,
    tokenize_within_limit,
)
from pipelines.stage.launch import argument, check_name, launch
from pipelines.stage.regrade import regrade, retry_timeout
from pipelines.stage.sampler import checked_engine
from pipelines.stage.shards import Part, ShardRow, Shards, run_inputs

log = logging.getLogger(__name__)

RESPONSES, METRICS = "responses.parquet", "metrics.json"
"""Files of the evaluation of a model that is no arm's."""
MAX_NAMED = 5
"""Responses without a verdict that an error names at most."""


@dataclass(frozen=True)
class Files:
    """The model that is evaluated, and what is written about it."""

    name: str
    model: Path
    prompts: Path
    responses: Path
    metrics: Path
    shards: Path
    """Where the responses are kept until both files are complete."""


def run(params: Params, name: str, root: Path = Path()) -> None:
    """Write data/eval/NAME.parquet and metrics/eval/NAME.json.

    The responses are kept in checkpoints/evaluate@NAME until both files are complete. Raises as `evaluate`
    does.
    """
    check_name(name, ["base", *params.arms])
    evaluate(
        params,
        Files(
            name,
            root / model(name),
            root / BENCHMARK_PROMPTS,
            root / evaluation_responses(name),
            root / evaluation_metrics(name),
            root / checkpoints(f"evaluate@{name}"),
        ),
    )


def run_elsewhere(params: Params, folder: Path, out: Path) -> None:
    """Evaluate the model in `folder` as the arms are, into OUT/responses.parquet and OUT/metrics.json."""
    files = Files(folder.name, folder, BENCHMARK_PROMPTS, out / RESPONSES, out / METRICS, out / "unfinished")
    evaluate(params, files)


def evaluate(params: Params, files: Files) -> None:
    """Evaluate a model on the benchmarks of `curate`.

    Raises VerifierError where the verifier fails on a response, or where too many responses exceed its
    limits; all responses are kept then.
    """
    samples = params.samples
    policy, benchmarks = load_policy(files.model), tables.read_benchmarks(files.prompts)
    if benchmarks.keys() != samples.keys():
        raise InputError(
            f"{files.prompts} has {sorted(benchmarks)}, and curate.benchmarks {sorted(samples)}; "
            "run `dvc repro curate`"
        )
    published = {benchmark: published_settings(params, benchmark) for benchmark in samples}
    tokens = {
        benchmark: _tokens(params, policy, benchmark, benchmarks[benchmark]) for benchmark in benchmarks
    }
    sampled = [prompt for of_benchmark in tokens.values() for prompt in of_benchmark.values()]
    kinds = {prompt.answer_kind for prompts in benchmarks.values() for prompt in prompts}
    with (
        checked_engine(params, policy, files.model, sampled, params.evaluate.temperature) as engine,
        build_verifier(params) as verifier,
    ):
        inputs = run_inputs(_parameters(params), engine.policy, files.model, files.prompts, __file__, kinds)
        shards = Shards(files.shards, inputs, tables.UNFINISHED_EVALUATION)
        parts = [
            _part(params, engine, verifier, benchmark, {p: tokens[benchmark][p.prompt_id] for p in part})
            for benchmark, prompts in benchmarks.items()
            for part in chunk(prompts, params.rollout.all_slots, samples[benchmark])
        ]
        shards.finish(parts, f"evaluate {files.name}", lambda row: int(row["n_tokens"]))

    every = range(len(parts))
    by_id = {
        (benchmark, prompt.prompt_id): prompt
        for benchmark, prompts in benchmarks.items()
        for prompt in prompts
    }
    unjudged = regrade(params, shards, every, lambda row: by_id[row["benchmark"], row["prompt_id"]])
    if failed := [row for row, over_limit in unjudged if not over_limit]:
        raise _without_verdict(params, failed)
    metrics = {
        benchmark: _result(params, benchmark, list(rows))
        | {"settings": settings(params, benchmark, benchmarks[benchmark])}
        | published[benchmark]
        for benchmark, rows in groupby(shards.rows(every), lambda row: str(row["benchmark"]))
    }
    judged = ({column: row[column] for column in tables.EVALUATION.names} for row in shards.rows(every))
    tables.write(files.responses, judged, tables.EVALUATION)
    write_json(files.metrics, metrics)
    shards.discard()


def _result(params: Params, benchmark: str, rows: Sequence[ShardRow]) -> BenchmarkResult:
    """The entry of the benchmark in metrics/eval/NAME.json.

    A response that exceeded the verifier's limits twice is not solved, so that a policy gains nothing by
    answers that take the verifier for ever. Raises VerifierError where they are more than
    evaluate.max_unjudged.
    """
    unjudged = [row for row in rows if row["no_verdict"] is not None]
    share, limit = len(unjudged) / len(rows), params.evaluate.max_unjudged
    if len(unjudged) > max(1, limit * len(rows)):
        excess = f"They are {share:.1%} of {benchmark}, and evaluate.max_unjudged is {limit:.1%}. "
        raise _without_verdict(params, unjudged, excess)
    if unjudged:
        log.warning("%s: %d responses exceeded the verifier's limits: not solved", benchmark, len(unjudged))
    seed = derive(params.seed, "bootstrap", benchmark)
    result = summarise(rows, params.samples[benchmark], seed, params.evaluate.bootstrap)
    result["unjudged"] = share
    return result


def _parameters(params: Params) -> dict[str, Any]:
    """The parameters that decide the rows of a shard.

    The verifier's are not among them: a response without a verdict is graded again, with the time
    limit of the present run.
    """
    evaluate = {"temperature", "top_p"}
    return params.model_dump(
        mode="json", include={"seed": True, "threads": True, "rollout": True, "evaluate": evaluate}
    ) | {"evaluate.samples": params.samples}


def _tokens(
    params: Params, policy: LoadedPolicy, benchmark: str, prompts: Sequence[Prompt]
) -> dict[str, list[int]]:
    """Tokens of every prompt, by prompt_id.

    Raises InputError for a prompt over the limit, because fewer prompts would make it another benchmark.
    """
    tokens, too_long = tokenize_within_limit(
        Chat(policy.tokenizer), prompts, params, benchmark, BENCHMARK_PROMPTS
    )
    if too_long:
        raise InputError(
            f"benchmark {benchmark}: {len(too_long)} prompts, the first with {too_long[0]['detail']}"
        )
    return tokens


def _part(
    params: Params,
    engine: RolloutEngine,
    verifier: Verifier,
    benchmark: str,
    prompts: Mapping[Prompt, Sequence[int]],
) -> Part:
    """k verified responses to each prompt; the seeds are the same for every policy."""
    config = params.evaluate
    sampling = Sampling(
        temperature=config.temperature, top_p=config.top_p, max_new_tokens=params.rollout.max_new_tokens
    )
    request = SamplingRequest(f"evaluate {benchmark}", params.samples[benchmark], sampling, params.seed)

    def make() -> list[ShardRow]:
        sampled = sample_and_verify(engine, verifier, prompts, request)
        return [row for responses in sampled for row in _rows(benchmark, responses)]

    return Part(list(prompts), request.samples, make)


def _rows(benchmark: str, responses: Responses) -> list[ShardRow]:
    """Rows of `tables.UNFINISHED_EVALUATION`. Raises EngineError where a prompt got no response."""
    rows = []
    for sample, (completion, verdict) in enumerate(
        zip(responses.completions, responses.verdicts, strict=True)
    ):
        if completion.error is not None:
            raise EngineError(f"{_place(benchmark, responses.prompt.prompt_id, sample)}: {completion.error}")
        rows.append(
            {
                "benchmark": benchmark,
                "prompt_id": responses.prompt.prompt_id,
                "source": responses.prompt.source,
                "sample": sample,
                "response": completion.response,
                "extracted": verdict.extracted,
                "correct": verdict.correct,
                "finish_reason": completion.finish_reason,
                "n_tokens": completion.n_tokens,
                "no_verdict": verdict.error,
            }
        )
    return rows


def _without_verdict(params: Params, rows: Sequence[ShardRow], excess: str = "") -> VerifierError:
    """The error about responses that got no verdict in a second attempt either."""
    named = [
        f"{_place(row['benchmark'], row['prompt_id'], row['sample'])}: {row['no_verdict']}"
        for row in rows[:MAX_NAMED]
    ]
    more = [f"and {len(rows) - MAX_NAMED} more"] if len(rows) > MAX_NAMED else []
    lead = (
        f"{len(rows)} of the responses have no verdict, not even with {retry_timeout(params):g} s for each. "
        f"{excess}All other responses are graded and kept. Raise verifier.timeout_s, or correct the errors "
        "below, and run the same command: it grades these responses again and generates nothing"
    )
    return VerifierError("\n".join([lead, *named, *more]))


def _place(benchmark: str, prompt_id: str, sample: int) -> str:
    return f"benchmark {benchmark}, prompt {prompt_id}, sample {sample}"


def main() -> None:
    """Entry point of `python -m pipelines.evaluate {base,ARM}`, or `MODEL OUT`: two folders."""
    if len(sys.argv) == 3:
        folder, out = map(Path, sys.argv[1:])
        launch("evaluate@champion", lambda params: run_elsewhere(params, folder, out))
        return
    name = argument()
    launch("evaluate_base" if name == "base" else f"evaluate@{name}", lambda params: run(params, name))


if __name__ == "__main__":
    main()
