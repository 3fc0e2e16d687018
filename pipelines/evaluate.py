"""Stages `evaluate@ARM` and `evaluate_base`: avg@k and pass@k on the benchmarks of `curate`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpt_core.chat import Chat
from hpt_core.config import Sampling
from hpt_core.data import tables
from hpt_core.errors import InputError, VerifierError
from hpt_core.evaluation import summarise
from hpt_core.model import LoadedPolicy, load_policy
from hpt_core.seeds import derive
from hpt_core.types import Prompt
from pipelines.params import Params
from pipelines.policy import Asking, ask, build_engine, build_verifier, fitting
from pipelines.stage import argument, check_name, launch

BENCHMARKS = Path("data/prompts/benchmarks.parquet")


def run(params: Params, name: str, root: Path = Path()) -> Mapping[str, Any]:
    """Write data/eval/NAME.parquet and metrics/eval/NAME.json; returns the metrics by benchmark."""
    check_name(name, ["base", *params.arms])
    policy = load_policy(root / "models" / name)
    benchmarks = tables.read_benchmarks(root / BENCHMARKS)
    rows = [
        row
        for benchmark, prompts in benchmarks.items()
        for row in respond(params, policy, benchmark, prompts)
    ]
    tables.write(root / "data/eval" / f"{name}.parquet", rows, tables.EVALUATION)
    config = params.evaluate
    metrics = {
        benchmark: summarise(
            [row for row in rows if row["benchmark"] == benchmark],
            config.samples,
            derive(params.seed, "bootstrap", benchmark),
            config.bootstrap,
        )
        for benchmark in benchmarks
    }
    tables.write_json(root / "metrics/eval" / f"{name}.json", metrics)
    return {"metrics": metrics}


def respond(
    params: Params, policy: LoadedPolicy, benchmark: str, prompts: Sequence[Prompt]
) -> Iterator[dict[str, Any]]:
    """k verified responses to each prompt, as rows of `tables.EVALUATION`.

    Every policy draws from the same seeds. Raises InputError for a prompt over the limit, since an
    evaluation that leaves some out is another evaluation, and VerifierError where a response cannot
    be judged.
    """
    tokens, too_long = fitting(Chat(policy.tokenizer), prompts, params, benchmark, BENCHMARKS)
    if too_long:
        raise InputError(
            f"benchmark {benchmark}: {len(too_long)} prompts, the first with {too_long[0]['detail']}"
        )
    config = params.evaluate
    sampling = Sampling(
        temperature=config.temperature, top_p=config.top_p, max_new_tokens=params.rollout.max_new_tokens
    )
    asking = Asking(f"evaluate {benchmark}", config.samples, sampling, params.seed)
    engine = build_engine(params, policy)
    with build_verifier(params) as verifier:
        for given in ask(engine, verifier, {p: tokens[p.prompt_id] for p in prompts}, asking):
            for sample, (completion, verdict) in enumerate(
                zip(given.completions, given.verdicts, strict=True)
            ):
                if verdict.error is not None:
                    where = f"benchmark {benchmark}, prompt {given.prompt.prompt_id}, sample {sample}"
                    raise VerifierError(f"{where}: {verdict.error}")
                yield {
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


def main() -> None:
    """Entry point of `python -m pipelines.evaluate {base,ARM}`."""
    name = argument()
    launch("evaluate_base" if name == "base" else f"evaluate@{name}", lambda params: run(params, name))


if __name__ == "__main__":
    main()
