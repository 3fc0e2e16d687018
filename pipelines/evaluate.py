"""Stages `evaluate@ARM` and `evaluate_base`: avg@k and pass@k on the benchmarks of `curate`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from hpt_core import tables
from hpt_core.config import BENCHMARKS as PUBLISHED
from hpt_core.config import Sampling
from hpt_core.errors import EngineError, InputError, VerifierError
from hpt_core.evaluation import summarise
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy, load_policy
from hpt_core.protocols import RolloutEngine, Verifier
from hpt_core.seeds import derive
from hpt_core.types import Prompt, Responses
from pipelines.params import Params
from pipelines.stage.generation import (
    SamplingRequest,
    build_engine,
    build_verifier,
    chunk,
    sample_and_verify,
    tokenize_within_limit,
)
from pipelines.stage.launch import argument, check_name, launch
from pipelines.stage.regrade import regrade, retry_timeout
from pipelines.stage.shards import Part, Row, Shards, run_inputs

log = logging.getLogger(__name__)

BENCHMARKS = Path("data/prompts/benchmarks.parquet")
NAMED = 5
"""Responses without a verdict that an error names."""


def run(params: Params, name: str, root: Path = Path()) -> Mapping[str, Any]:
    """Write data/eval/NAME.parquet and metrics/eval/NAME.json; returns the metrics by benchmark.

    Responses are kept in checkpoints/evaluate@NAME until both stand: the @ keeps them apart from the
    checkpoints of every arm. Raises VerifierError, with all of them kept, where one cannot be judged.
    """
    check_name(name, ["base", *params.arms])
    model, samples = root / "models" / name, params.samples
    policy, benchmarks = load_policy(model), tables.read_benchmarks(root / BENCHMARKS)
    if benchmarks.keys() != samples.keys():
        raise InputError(
            f"{root / BENCHMARKS} has {sorted(benchmarks)}, and curate.benchmarks {sorted(samples)}; "
            "run `dvc repro curate`"
        )
    published = {benchmark: _as_published(params, benchmark) for benchmark in samples}
    tokens = {
        benchmark: _encoded(params, policy, benchmark, benchmarks[benchmark]) for benchmark in benchmarks
    }
    engine = build_engine(params, policy)
    inputs = run_inputs(_used(params), engine.policy, model, root / BENCHMARKS, __file__)
    shards = Shards(root / "checkpoints" / f"evaluate@{name}", inputs, tables.JUDGING)
    with build_verifier(params) as verifier:
        parts = [
            _part(params, engine, verifier, benchmark, {p: tokens[benchmark][p.prompt_id] for p in some})
            for benchmark, prompts in benchmarks.items()
            for some in chunk(prompts, params.rollout.slots, samples[benchmark])
        ]
        shards.finish(parts, f"evaluate {name}", lambda row: int(row["n_tokens"]))

    every = range(len(parts))
    by_id = {(one, prompt.prompt_id): prompt for one, prompts in benchmarks.items() for prompt in prompts}
    if silent := regrade(params, shards, every, lambda row: by_id[row["benchmark"], row["prompt_id"]]):
        raise _without_verdict(params, silent)
    judged = ({column: row[column] for column in tables.EVALUATION.names} for row in shards.rows(every))
    tables.write(root / "data/eval" / f"{name}.parquet", judged, tables.EVALUATION)
    metrics = {
        benchmark: summarise(
            list(rows),
            samples[benchmark],
            derive(params.seed, "bootstrap", benchmark),
            params.evaluate.bootstrap,
        )
        | published[benchmark]
        for benchmark, rows in groupby(shards.rows(every), lambda row: str(row["benchmark"]))
    }
    tables.write_json(root / "metrics/eval" / f"{name}.json", metrics)
    shards.discard()
    return {"metrics": metrics}


def _used(params: Params) -> dict[str, Any]:
    """The parameters that decide what is in a shard.

    The verifier's are not among them: what it gave no verdict on is judged again, with the time-out of then.
    """
    evaluate = {"temperature", "top_p"}
    return params.model_dump(
        mode="json", include={"seed": True, "threads": True, "rollout": True, "evaluate": evaluate}
    ) | {"evaluate.samples": params.samples}


def _as_published(params: Params, benchmark: str) -> dict[str, Any]:
    """Whether it is evaluated as published results are; of a benchmark outside of the registry, nothing."""
    config, sources = params.evaluate, params.curate.benchmarks[benchmark]
    ours = {"k": params.samples[benchmark], "temperature": config.temperature, "top_p": config.top_p}
    published = {
        name: {"k": entry.samples, "temperature": entry.temperature, "top_p": entry.top_p}
        for name, entry in PUBLISHED.items()
        if name in {source.benchmark for source in sources}
    }
    if not published:
        return {}
    for name, theirs in published.items():
        if ours != theirs:
            log.warning(
                "%s is asked with %s, in published results on %s with %s", benchmark, ours, name, theirs
            )
    return {"published": published, "as_published": all(ours == theirs for theirs in published.values())}


def _encoded(
    params: Params, policy: LoadedPolicy, benchmark: str, prompts: Sequence[Prompt]
) -> dict[str, list[int]]:
    """Tokens of every prompt, by prompt_id.

    Raises InputError for a prompt over the limit: an evaluation that leaves some out is another evaluation.
    """
    tokens, too_long = tokenize_within_limit(Chat(policy.tokenizer), prompts, params, benchmark, BENCHMARKS)
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
    """k verified responses to each prompt; every policy draws from the same seeds."""
    config = params.evaluate
    sampling = Sampling(
        temperature=config.temperature, top_p=config.top_p, max_new_tokens=params.rollout.max_new_tokens
    )
    asking = SamplingRequest(f"evaluate {benchmark}", params.samples[benchmark], sampling, params.seed)

    def make() -> list[Row]:
        return [
            row
            for given in sample_and_verify(engine, verifier, prompts, asking)
            for row in _rows(benchmark, given)
        ]

    return Part(list(prompts), asking.samples, make)


def _rows(benchmark: str, given: Responses) -> list[Row]:
    """As rows of `tables.JUDGING`. Raises EngineError where there is no response to judge."""
    rows = []
    for sample, (completion, verdict) in enumerate(zip(given.completions, given.verdicts, strict=True)):
        if completion.error is not None:
            raise EngineError(f"{_place(benchmark, given.prompt.prompt_id, sample)}: {completion.error}")
        rows.append(
            {
                "benchmark": benchmark,
                "prompt_id": given.prompt.prompt_id,
                "source": given.prompt.source,
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


def _without_verdict(params: Params, rows: Sequence[Row]) -> VerifierError:
    """Of the responses that could not be judged a second time either."""
    named = [
        f"{_place(row['benchmark'], row['prompt_id'], row['sample'])}: {row['no_verdict']}"
        for row in rows[:NAMED]
    ]
    more = [f"and {len(rows) - NAMED} more"] if len(rows) > NAMED else []
    lead = (
        f"{len(rows)} of the responses have no verdict, not even with {retry_timeout(params):g} s for each. "
        "All else is done and kept. Raise verifier.timeout_s, or mend what is said below, and run the "
        "same command: it judges these again and generates nothing"
    )
    return VerifierError("\n".join([lead, *named, *more]))


def _place(benchmark: str, prompt_id: str, sample: int) -> str:
    return f"benchmark {benchmark}, prompt {prompt_id}, sample {sample}"


def main() -> None:
    """Entry point of `python -m pipelines.evaluate {base,ARM}`."""
    name = argument()
    launch("evaluate_base" if name == "base" else f"evaluate@{name}", lambda params: run(params, name))


if __name__ == "__main__":
    main()
