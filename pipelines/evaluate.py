"""Stages `evaluate@ARM` and `evaluate_base`: avg@k and pass@k on the benchmarks of `curate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from hpt_core.chat import Chat
from hpt_core.config import Sampling
from hpt_core.data import tables
from hpt_core.errors import InputError, VerifierError
from hpt_core.evaluation import summarise
from hpt_core.model import LoadedPolicy, load_policy
from hpt_core.protocols import RolloutEngine, Verifier
from hpt_core.seeds import derive
from hpt_core.types import Prompt, Responses
from pipelines.params import Params
from pipelines.policy import Asking, answers, build_engine, build_verifier, cut, fitting
from pipelines.shards import Part, Row, Shards, origin
from pipelines.stage import argument, check_name, launch

BENCHMARKS = Path("data/prompts/benchmarks.parquet")


def run(params: Params, name: str, root: Path = Path()) -> Mapping[str, Any]:
    """Write data/eval/NAME.parquet and metrics/eval/NAME.json; returns the metrics by benchmark.

    Responses are kept in checkpoints/evaluate@NAME until both stand: the @ keeps them apart from the
    checkpoints of every arm.
    """
    check_name(name, ["base", *params.arms])
    model, config = root / "models" / name, params.evaluate
    policy, benchmarks = load_policy(model), tables.read_benchmarks(root / BENCHMARKS)
    tokens = {
        benchmark: _encoded(params, policy, benchmark, benchmarks[benchmark]) for benchmark in benchmarks
    }
    engine = build_engine(params, policy)
    made_of = origin(_used(params), engine.policy, model, root / BENCHMARKS, __file__)
    shards = Shards(root / "checkpoints" / f"evaluate@{name}", made_of, tables.EVALUATION)
    with build_verifier(params) as verifier:
        parts = [
            _part(params, engine, verifier, benchmark, {p: tokens[benchmark][p.prompt_id] for p in some})
            for benchmark, prompts in benchmarks.items()
            for some in cut(prompts, params.rollout.slots, config.samples)
        ]
        shards.finish(parts, f"evaluate {name}", lambda row: int(row["n_tokens"]))

    every = range(len(parts))
    tables.write(root / "data/eval" / f"{name}.parquet", shards.rows(every), tables.EVALUATION)
    metrics = {
        benchmark: summarise(
            list(rows), config.samples, derive(params.seed, "bootstrap", benchmark), config.bootstrap
        )
        for benchmark, rows in groupby(shards.rows(every), lambda row: str(row["benchmark"]))
    }
    tables.write_json(root / "metrics/eval" / f"{name}.json", metrics)
    shards.discard()
    return {"metrics": metrics}


def _used(params: Params) -> dict[str, Any]:
    """The parameters that decide what is in a shard.

    The verifier's are not among them: a response without a verdict is in none, so that the run goes on from
    there with a longer time-out.
    """
    evaluate = {"samples", "temperature", "top_p"}
    return params.model_dump(
        mode="json", include={"seed": True, "threads": True, "rollout": True, "evaluate": evaluate}
    )


def _encoded(
    params: Params, policy: LoadedPolicy, benchmark: str, prompts: Sequence[Prompt]
) -> dict[str, list[int]]:
    """Tokens of every prompt, by prompt_id.

    Raises InputError for a prompt over the limit: an evaluation that leaves some out is another evaluation.
    """
    tokens, too_long = fitting(Chat(policy.tokenizer), prompts, params, benchmark, BENCHMARKS)
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
    asking = Asking(f"evaluate {benchmark}", config.samples, sampling, params.seed)

    def make() -> list[Row]:
        return [
            row for given in answers(engine, verifier, prompts, asking) for row in _rows(benchmark, given)
        ]

    return Part(list(prompts), config.samples, make)


def _rows(benchmark: str, given: Responses) -> list[Row]:
    """As rows of `tables.EVALUATION`. Raises VerifierError where a response cannot be judged."""
    rows = []
    for sample, (completion, verdict) in enumerate(zip(given.completions, given.verdicts, strict=True)):
        if verdict.error is not None:
            where = f"benchmark {benchmark}, prompt {given.prompt.prompt_id}, sample {sample}"
            raise VerifierError(f"{where}: {verdict.error}")
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
                "n_tokens": len(completion.token_ids),
            }
        )
    return rows


def main() -> None:
    """Entry point of `python -m pipelines.evaluate {base,ARM}`."""
    name = argument()
    launch("evaluate_base" if name == "base" else f"evaluate@{name}", lambda params: run(params, name))


if __name__ == "__main__":
    main()
