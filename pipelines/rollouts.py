"""Stage `rollouts`: the starting policy on every training prompt -> pass rates and the gate's forecast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from hpt_core import tables
from hpt_core.errors import InputError
from hpt_core.gate import Switch
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import load_policy
from hpt_core.protocols import RolloutEngine, Verifier
from hpt_core.rollout.group import Task, rollout_row, sample, score
from hpt_core.types import Prompt
from pipelines.params import Params
from pipelines.stage.generation import build_engine, build_verifier, chunk, tokenize_within_limit
from pipelines.stage.launch import launch
from pipelines.stage.shards import Part, Row, Shards, run_inputs

TRAIN, BASE, OUT = Path("data/prompts/train.parquet"), Path("models/base"), Path("data/rollouts/base")
SHARDS = Path("checkpoints/rollouts@base")
"""The @ keeps it apart from the checkpoints of every arm."""


@dataclass(frozen=True)
class Outcome:
    """What came of one prompt."""

    prompt_id: str
    rewards: list[float]
    """Of the rollouts that could be judged."""
    lengths: list[int]
    """Of the same, in tokens."""
    tokens: int
    """Of all its rollouts."""
    unjudged: int

    @property
    def pass_rate(self) -> float:
        return sum(self.rewards) / len(self.rewards)

    @property
    def equal(self) -> bool:
        return len(set(self.rewards)) == 1


def run(params: Params, train: Path = TRAIN, base: Path = BASE, out: Path = OUT) -> Mapping[str, Any]:
    """Write rollouts, pass rates, forecast and quarantine to `out`; returns the forecast.

    What is sampled is kept until all of it stands: of the project's own `out` in SHARDS, else within `out`.
    """
    policy, prompts = load_policy(base), tables.read_prompts(train)
    tokens, too_long = tokenize_within_limit(Chat(policy.tokenizer), prompts, params, "rollouts", train)
    tasks = [Task(p, tokens[p.prompt_id], None, []) for p in prompts if p.prompt_id in tokens]
    engine = build_engine(params, policy)
    inputs = run_inputs(_used(params), engine.policy, base, train, __file__)
    shards = Shards(SHARDS if out == OUT else out / ".shards", inputs, tables.ROLLOUTS)
    with build_verifier(params) as verifier:
        parts = [
            _part(params, engine, verifier, some)
            for some in chunk(tasks, params.rollout.slots, params.rollout.group_size)
        ]
        shards.finish(parts, "rollouts", lambda row: len(row["token_ids"]))

    every = range(len(parts))
    outcomes = [
        _outcome(name, list(rows))
        for name, rows in groupby(shards.rows(every), lambda r: str(r["prompt_id"]))
    ]
    predicted = forecast(outcomes, params.rollout.group_size)
    silent = {outcome.prompt_id for outcome in outcomes if not outcome.rewards}
    mute = _without_verdict([prompt for prompt in prompts if prompt.prompt_id in silent])
    judged = [outcome for outcome in outcomes if outcome.rewards]
    tables.write(out / "rollouts.parquet", shards.rows(every), tables.ROLLOUTS)
    tables.write(out / "pass_rates.parquet", map(_pass_rate_row, judged), tables.PASS_RATES)
    tables.write(out / "quarantine.parquet", [*too_long, *mute], tables.QUARANTINE)
    tables.write_json(out / "forecast.json", predicted)
    shards.discard()
    return {"forecast": predicted}


def _used(params: Params) -> dict[str, Any]:
    """The parameters that decide what is in a shard."""
    return params.model_dump(
        mode="json", include={"seed": True, "threads": True, "rollout": True, "verifier": {"timeout_s"}}
    )


def forecast(outcomes: Sequence[Outcome], group_size: int) -> dict[str, Any]:
    """What an epoch would be if the gate saw these rollouts and every prompt had an expert.

    For each gamma (gamma): the share of prompts by route. For each gamma (training_tokens_per_epoch): the
    response tokens to train on, by route; a demonstration, which comes later, is taken to be as long as the
    rollouts that are right (null where none is). Raises InputError where no rollout could be judged.
    """
    judged = [outcome for outcome in outcomes if outcome.rewards]
    unjudged = sum(outcome.unjudged for outcome in outcomes)
    if not judged:
        raise InputError(
            f"none of the {unjudged} rollouts could be judged; see the warnings above, and raise "
            "verifier.timeout_s if they are about time"
        )
    right = [
        length
        for outcome in judged
        for length, reward in zip(outcome.lengths, outcome.rewards, strict=True)
        if reward == 1.0
    ]
    shares: dict[str, dict[str, float]] = {}
    training: dict[str, dict[str, int | None]] = {}
    for solved in range(group_size):
        gate, name = Switch(solved / group_size), f"{solved}/{group_size}"
        routes = [gate.route(one.pass_rate, one.equal, has_expert=True) for one in judged]
        counts = Counter(routes)
        shares[name] = {route: counts[route] / len(judged) for route in ("sft", "rl", "equal")}
        training[name] = {
            "rl": sum(sum(one.lengths) for one, route in zip(judged, routes, strict=True) if route == "rl"),
            "sft": round(counts["sft"] * sum(right) / len(right)) if right else None,
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


def _part(params: Params, engine: RolloutEngine, verifier: Verifier, tasks: Sequence[Task]) -> Part:
    def make() -> list[Row]:
        completions = sample(engine, tasks, params.rollout, step=0, seed=params.seed)
        groups = score(tasks, completions, verifier, step=0, policy=engine.policy)
        return [rollout_row(rollout) for group in groups for rollout in group.rollouts]

    return Part([task.prompt for task in tasks], params.rollout.group_size, make)


def _outcome(prompt_id: str, rows: Sequence[Row]) -> Outcome:
    judged = [row for row in rows if row["reward"] is not None]
    return Outcome(
        prompt_id,
        rewards=[row["reward"] for row in judged],
        lengths=[len(row["token_ids"]) for row in judged],
        tokens=sum(len(row["token_ids"]) for row in rows),
        unjudged=len(rows) - len(judged),
    )


def _without_verdict(silent: Sequence[Prompt]) -> list[dict[str, Any]]:
    """A quarantine row for each prompt none of whose rollouts could be judged."""
    detail = "no rollout of it could be judged"
    return [tables.quarantined("rollouts", p.source, "no_verdict", detail, row=p.problem) for p in silent]


def _pass_rate_row(outcome: Outcome) -> dict[str, Any]:
    return {
        "prompt_id": outcome.prompt_id,
        "samples": len(outcome.rewards),
        "solved": int(sum(outcome.rewards)),
        "pass_rate": outcome.pass_rate,
    }


def main() -> None:
    """Entry point of `python -m pipelines.rollouts`."""
    launch("rollouts", run)


if __name__ == "__main__":
    main()
