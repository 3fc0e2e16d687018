"""Stage `rollouts`: rollouts of the starting policy on every training prompt -> pass rates, gate forecast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from hpt_core import tables
from hpt_core.errors import InputError
from hpt_core.files import write_json
from hpt_core.gate import Gate, Route, Switch, route
from hpt_core.groups import pass_rate, rewards_equal
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import load_policy
from hpt_core.protocols import RolloutEngine, Verifier
from hpt_core.rollout.group import Task, rollout_row, sample, score
from hpt_core.types import Prompt
from pipelines.params import Params
from pipelines.paths import BASE_MODEL, PASS_RATES, TRAIN_PROMPTS, checkpoints, rollouts
from pipelines.stage.generation import (
    build_verifier,
    chunk,
    tokenize_within_limit,
)
from pipelines.stage.launch import launch
from pipelines.stage.regrade import PatientVerifier
from pipelines.stage.sampler import checked_engine
from pipelines.stage.shards import Part, ShardRow, Shards, run_inputs

OUT = rollouts("base")
SHARDS = checkpoints("rollouts@base")


@dataclass(frozen=True)
class Outcome:
    """The rollouts of one prompt in numbers."""

    prompt_id: str
    rewards: list[float]
    """The rewards of the rollouts that have a verdict."""
    lengths: list[int]
    """The lengths of the same rollouts, in tokens."""
    tokens: int
    """The tokens of all rollouts of the prompt."""
    unjudged: int
    """The number of rollouts without a verdict."""

    @property
    def pass_rate(self) -> float:
        return pass_rate(self.rewards)

    @property
    def equal(self) -> bool:
        return rewards_equal(self.rewards)


def run(params: Params, train: Path = TRAIN_PROMPTS, base: Path = BASE_MODEL, out: Path = OUT) -> None:
    """Write rollouts, pass rates, forecast and quarantine to `out`.

    The rollouts are kept in SHARDS until the outputs are complete; if `out` is not OUT, in `out`.
    """
    policy, prompts = load_policy(base), tables.read_prompts(train)
    tokens, too_long = tokenize_within_limit(Chat(policy.tokenizer), prompts, params, "rollouts", train)
    tasks = [Task(p, tokens[p.prompt_id], None, []) for p in prompts if p.prompt_id in tokens]
    kinds = {prompt.answer_kind for prompt in prompts}
    with (
        checked_engine(params, policy, base, tokens.values()) as engine,
        build_verifier(params) as verifier,
    ):
        inputs = run_inputs(_parameters(params), engine.policy, base, train, __file__, kinds)
        shards = Shards(SHARDS if out == OUT else out / ".shards", inputs, tables.ROLLOUTS)
        parts = [
            _part(params, engine, PatientVerifier(params, verifier), part_tasks)
            for part_tasks in chunk(tasks, params.rollout.all_slots, params.rollout.group_size)
        ]
        shards.finish(parts, "rollouts", lambda row: len(row["token_ids"]))

    every = range(len(parts))
    outcomes = [
        _outcome(name, list(rows))
        for name, rows in groupby(shards.rows(every), lambda r: str(r["prompt_id"]))
    ]
    predicted = forecast(outcomes, params.rollout.group_size)
    unjudged = {outcome.prompt_id for outcome in outcomes if not outcome.rewards}
    no_verdict = _without_verdict([prompt for prompt in prompts if prompt.prompt_id in unjudged])
    judged = [outcome for outcome in outcomes if outcome.rewards]
    tables.write(out / "rollouts.parquet", shards.rows(every), tables.ROLLOUTS)
    tables.write(out / PASS_RATES.name, map(_pass_rate_row, judged), tables.PASS_RATES)
    tables.write(out / "quarantine.parquet", [*too_long, *no_verdict], tables.QUARANTINE)
    write_json(out / "forecast.json", predicted)
    shards.discard()


def _parameters(params: Params) -> dict[str, Any]:
    """The parameters that decide the rows of a shard."""
    return params.model_dump(
        mode="json", include={"seed": True, "threads": True, "rollout": True, "verifier": {"timeout_s"}}
    )


def forecast(outcomes: Sequence[Outcome], group_size: int) -> dict[str, Any]:
    """The routes and tokens of an epoch, if the gate saw these rollouts and every prompt had an expert.

    gamma: for each gamma, the share of prompts by route. training_tokens_per_epoch: for each gamma, the
    response tokens to train on, by route. The demonstrations do not exist yet, so their length is taken to be
    the mean length of correct rollouts (null if there are none).

    Raises InputError where no rollout has a verdict.
    """
    judged = [outcome for outcome in outcomes if outcome.rewards]
    unjudged = sum(outcome.unjudged for outcome in outcomes)
    if not judged:
        raise InputError(
            f"none of the {unjudged} rollouts could be judged; see the warnings above, and raise "
            "verifier.timeout_s if they are about time"
        )
    correct_lengths = [
        length
        for outcome in judged
        for length, reward in zip(outcome.lengths, outcome.rewards, strict=True)
        if reward == 1.0
    ]
    shares: dict[str, dict[str, float]] = {}
    training: dict[str, dict[str, int | None]] = {}
    for solved in range(group_size):
        gate, name = Switch(solved / group_size), f"{solved}/{group_size}"
        routes = [_route_with_expert(gate, outcome) for outcome in judged]
        counts = Counter(routes)
        shares[name] = {route: counts[route] / len(judged) for route in ("sft", "rl", "equal")}
        training[name] = {
            "rl": sum(
                sum(outcome.lengths) for outcome, route in zip(judged, routes, strict=True) if route == "rl"
            ),
            "sft": round(counts["sft"] * sum(correct_lengths) / len(correct_lengths))
            if correct_lengths
            else None,
        }
    tokens = sum(outcome.tokens for outcome in outcomes)
    return {
        "prompts": len(judged),
        "pass_rate": sum(outcome.pass_rate for outcome in judged) / len(judged),
        "tokens_per_prompt": tokens / len(outcomes),
        "rollout_tokens_per_epoch": tokens,
        "training_tokens_per_epoch": training,
        "unjudged": unjudged,
        "gamma": shares,
    }


def _route_with_expert(gate: Gate, outcome: Outcome) -> Route:
    alpha, beta = gate(outcome.pass_rate)
    return route(
        rollouts=alpha > 0 and not outcome.equal,
        demonstration=beta > 0,
        kept=alpha > 0,
        no_expert=False,
    )


def _part(params: Params, engine: RolloutEngine, verifier: Verifier, tasks: Sequence[Task]) -> Part:
    def make() -> list[ShardRow]:
        completions = sample(engine, tasks, params.rollout, step=0, seed=params.seed)
        groups = score(tasks, completions, verifier, step=0, policy=engine.policy)
        return [rollout_row(rollout) for group in groups for rollout in group.rollouts]

    return Part([task.prompt for task in tasks], params.rollout.group_size, make)


def _outcome(prompt_id: str, rows: Sequence[ShardRow]) -> Outcome:
    judged = [row for row in rows if row["reward"] is not None]
    return Outcome(
        prompt_id,
        rewards=[row["reward"] for row in judged],
        lengths=[len(row["token_ids"]) for row in judged],
        tokens=sum(len(row["token_ids"]) for row in rows),
        unjudged=len(rows) - len(judged),
    )


def _without_verdict(prompts: Sequence[Prompt]) -> list[tables.QuarantineRow]:
    """A quarantine row for each of these prompts, which have no rollout with a verdict."""
    detail = "no rollout of it could be judged"
    return [tables.quarantined("rollouts", p.source, "no_verdict", detail, row=p.problem) for p in prompts]


def _pass_rate_row(outcome: Outcome) -> dict[str, Any]:
    return {
        "prompt_id": outcome.prompt_id,
        "samples": len(outcome.rewards),
        "solved": outcome.rewards.count(1.0),
        "pass_rate": outcome.pass_rate,
    }


def main() -> None:
    """Entry point of `python -m pipelines.rollouts`."""
    launch("rollouts", run)


if __name__ == "__main__":
    main()
