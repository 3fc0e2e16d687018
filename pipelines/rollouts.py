"""Stage `rollouts`: the starting policy on every training prompt -> pass rates and the gate's forecast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpt_core.chat import Chat
from hpt_core.data import tables
from hpt_core.errors import InputError
from hpt_core.gate import Switch
from hpt_core.model import LoadedPolicy, load_policy
from hpt_core.rollout.group import Group, Task, rollout_row, sample, score
from pipelines.params import Params
from pipelines.policy import build_engine, build_verifier, fitting
from pipelines.progress import ProgressBar
from pipelines.stage import launch

TRAIN, BASE, OUT = Path("data/prompts/train.parquet"), Path("models/base"), Path("data/rollouts/base")


def run(params: Params, train: Path = TRAIN, base: Path = BASE, out: Path = OUT) -> Mapping[str, Any]:
    """Write rollouts, pass rates, forecast and quarantine to `out`; returns the forecast."""
    policy, prompts = load_policy(base), tables.read_prompts(train)
    tokens, too_long = fitting(Chat(policy.tokenizer), prompts, params, "rollouts", train)
    tasks = [Task(p, tokens[p.prompt_id], None, []) for p in prompts if p.prompt_id in tokens]
    groups = _sampled(params, policy, tasks)
    judged = [group for group in groups if group.rewards]
    tables.write(
        out / "rollouts.parquet",
        (rollout_row(r) for group in groups for r in group.rollouts),
        tables.ROLLOUTS,
    )
    tables.write(out / "pass_rates.parquet", map(_pass_rate_row, judged), tables.PASS_RATES)
    tables.write(out / "quarantine.parquet", [*too_long, *_without_verdict(groups)], tables.QUARANTINE)
    predicted = forecast(groups, params.rollout.group_size)
    tables.write_json(out / "forecast.json", predicted)
    return {"forecast": predicted}


def forecast(groups: Sequence[Group], group_size: int) -> dict[str, Any]:
    """For each gamma, the share of prompts by route if the gate saw these rollouts and every expert.

    Raises InputError where no rollout could be judged.
    """
    judged = [group for group in groups if group.rewards]
    unjudged = sum(rollout.reward is None for group in groups for rollout in group.rollouts)
    if not judged:
        raise InputError(
            f"none of the {unjudged} rollouts could be judged; see the warnings above, and raise "
            "verifier.timeout_s if they are about time"
        )
    shares = {}
    for solved in range(group_size):
        gate = Switch(solved / group_size)
        routes = Counter(
            gate.route(group.pass_rate, group.rewards_equal, has_expert=True) for group in judged
        )
        shares[f"{solved}/{group_size}"] = {
            route: routes[route] / len(judged) for route in ("sft", "rl", "equal")
        }
    tokens = sum(len(rollout.completion.token_ids) for group in groups for rollout in group.rollouts)
    return {
        "prompts": len(judged),
        "pass_rate": sum(group.pass_rate for group in judged) / len(judged),
        "tokens_per_prompt": tokens / len(groups),
        "unjudged": unjudged,
        "gamma": shares,
    }


def _sampled(params: Params, policy: LoadedPolicy, tasks: Sequence[Task]) -> list[Group]:
    groups: list[Group] = []
    size = max(1, params.rollout.slots // params.rollout.group_size)
    engine = build_engine(params, policy)
    with build_verifier(params) as verifier, ProgressBar("rollouts", len(tasks)) as bar:
        for start in range(0, len(tasks), size):
            part = tasks[start : start + size]
            completions = sample(engine, part, params.rollout, step=0, seed=params.seed)
            groups += score(part, completions, verifier, step=0, policy=engine.policy)
            bar.advance(len(part))
    return groups


def _without_verdict(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """A quarantine row for each prompt none of whose rollouts could be judged."""
    silent = [group.task.prompt for group in groups if not group.rewards]
    detail = "no rollout of it could be judged"
    return [tables.quarantined("rollouts", p.source, "no_verdict", detail, row=p.problem) for p in silent]


def _pass_rate_row(group: Group) -> dict[str, Any]:
    return {
        "prompt_id": group.task.prompt.prompt_id,
        "samples": len(group.rewards),
        "solved": int(sum(group.rewards)),
        "pass_rate": group.pass_rate,
    }


def main() -> None:
    """Entry point of `python -m pipelines.rollouts`."""
    launch("rollouts", run)


if __name__ == "__main__":
    main()
