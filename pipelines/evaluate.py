"""Stages `evaluate@ARM` and `evaluate_base`: avg@k and pass@k on the benchmarks of `curate`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from hpt_core.chat import Chat
from hpt_core.config import BENCHMARKS as PUBLISHED
from hpt_core.config import Sampling
from hpt_core.data import tables
from hpt_core.errors import EngineError, InputError, VerifierError
from hpt_core.evaluation import summarise
from hpt_core.model import LoadedPolicy, load_policy
from hpt_core.protocols import RolloutEngine, Verifier
from hpt_core.seeds import derive
from hpt_core.types import Prompt, Responses
from pipelines.params import Params
from pipelines.policy import Asking, answers, build_engine, build_verifier, cut, fitting
from pipelines.shards import Part, Row, Shards, origin
from pipelines.stage import argument, check_name, launch

log = logging.getLogger(__name__)

BENCHMARKS = Path("data/prompts/benchmarks.parquet")
PATIENCE = 10
"""A response without a verdict is judged again with so many times verifier.timeout_s."""
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
    _compare_with_published(params)
    tokens = {
        benchmark: _encoded(params, policy, benchmark, benchmarks[benchmark]) for benchmark in benchmarks
    }
    engine = build_engine(params, policy)
    made_of = origin(_used(params), engine.policy, model, root / BENCHMARKS, __file__)
    shards = Shards(root / "checkpoints" / f"evaluate@{name}", made_of, tables.JUDGING)
    with build_verifier(params) as verifier:
        parts = [
            _part(params, engine, verifier, benchmark, {p: tokens[benchmark][p.prompt_id] for p in some})
            for benchmark, prompts in benchmarks.items()
            for some in cut(prompts, params.rollout.slots, samples[benchmark])
        ]
        shards.finish(parts, f"evaluate {name}", lambda row: int(row["n_tokens"]))

    every = range(len(parts))
    _judge_again(params, shards, every, benchmarks)
    tables.write(root / "data/eval" / f"{name}.parquet", shards.rows(every), tables.EVALUATION)
    metrics = {
        benchmark: summarise(
            list(rows),
            samples[benchmark],
            derive(params.seed, "bootstrap", benchmark),
            params.evaluate.bootstrap,
        )
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


def _compare_with_published(params: Params) -> None:
    """Say of each benchmark of the registry whether it is evaluated otherwise than published."""
    for name, sources in params.curate.benchmarks.items():
        for known in sorted({source.benchmark for source in sources if source.benchmark}):
            entry = PUBLISHED[known]
            ours = params.samples[name], params.evaluate.temperature, params.evaluate.top_p
            theirs = entry.samples, entry.temperature, entry.top_p
            if ours != theirs:
                log.info(
                    "%s: samples, temperature, top_p are %s; published results on %s have %s",
                    name,
                    ours,
                    entry.name,
                    theirs,
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
    asking = Asking(f"evaluate {benchmark}", params.samples[benchmark], sampling, params.seed)

    def make() -> list[Row]:
        return [
            row for given in answers(engine, verifier, prompts, asking) for row in _rows(benchmark, given)
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
                "correct": None if verdict.error is not None else verdict.correct,
                "finish_reason": completion.finish_reason,
                "n_tokens": completion.n_tokens,
            }
        )
    return rows


def _judge_again(
    params: Params, shards: Shards, numbers: Iterable[int], benchmarks: Mapping[str, Sequence[Prompt]]
) -> None:
    """Judge the responses without a verdict one by one, with more time, and keep the verdicts.

    Raises VerifierError that names those which still have none, after the last of them.
    """
    prompts = {(name, prompt.prompt_id): prompt for name, many in benchmarks.items() for prompt in many}
    longer = params.verifier.model_copy(update={"timeout_s": PATIENCE * params.verifier.timeout_s})
    failed: list[str] = []
    with build_verifier(params.model_copy(update={"verifier": longer})) as verifier:
        for number in numbers:
            rows = list(shards.rows([number]))
            unjudged = [row for row in rows if row["correct"] is None]
            if unjudged:
                log.info("judging %d responses again, %g s for each", len(unjudged), longer.timeout_s)
            for row in unjudged:
                prompt = prompts[row["benchmark"], row["prompt_id"]]
                [verdict] = verifier.verify([(row["response"], prompt.answer, prompt.answer_kind)])
                if verdict.error is None:
                    row |= {"correct": verdict.correct, "extracted": verdict.extracted}
                else:
                    place = _place(row["benchmark"], row["prompt_id"], row["sample"])
                    failed.append(f"{place}: {verdict.error}")
            if unjudged:
                shards.replace(number, rows)
    if failed:
        more = [f"and {len(failed) - NAMED} more"] if len(failed) > NAMED else []
        lead = (
            f"{len(failed)} of the responses have no verdict, not even with {longer.timeout_s:g} s for each. "
            "All else is done and kept. Raise verifier.timeout_s, or mend what is said below, and run the "
            "same command: it judges these again and generates nothing"
        )
        raise VerifierError("\n".join([lead, *failed[:NAMED], *more]))


def _place(benchmark: str, prompt_id: str, sample: int) -> str:
    return f"benchmark {benchmark}, prompt {prompt_id}, sample {sample}"


def main() -> None:
    """Entry point of `python -m pipelines.evaluate {base,ARM}`."""
    name = argument()
    launch("evaluate_base" if name == "base" else f"evaluate@{name}", lambda params: run(params, name))


if __name__ == "__main__":
    main()
