"""Groups: judged rollouts only, and the gate's four ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from hpt_core.gate import Switch
from hpt_core.rollout.group import Group, gate_row, score
from hpt_core.types import Completion, Verdict


@pytest.mark.parametrize(
    ("rewards", "kind", "route"),
    [
        ((0, 0, 0, 0), "human", "sft"),
        ((0, 0, 0, 1), "human", "sft"),
        ((0, 0, 0, 1), None, "no_expert"),
        ((0, 0, 1, 1), "human", "rl"),
        ((0, 1, 1, 1), None, "rl"),
        ((1, 1, 1, 1), "human", "equal"),
    ],
)
def test_route(
    make_group: Callable[..., Group], rewards: tuple[float, ...], kind: str | None, route: str
) -> None:
    group = make_group("p", rewards, kind)
    assert group.route(Switch(0.25)) == route
    row = gate_row(group, 3, group.route(Switch(0.25)))
    assert (row["step"], row["pass_rate"], row["route"], row["kind"]) == (3, sum(rewards) / 4, route, kind)


class Mumbling:
    """A verifier without a word on responses that start with '?'."""

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        return [
            Verdict(False, None, "took too long")
            if response.startswith("?")
            else Verdict(response == gold, "")
            for response, gold, _ in items
        ]


def test_a_rollout_without_a_verdict_has_no_reward_and_is_counted(make_group: Callable[..., Group]) -> None:
    tasks = [make_group("a", [0]).task, make_group("b", [0]).task]
    sampled = [
        [Completion(text, (1,), (-1.0,), "stop") for text in texts]
        for texts in (("7", "?", "8"), ("?", "?", "?"))
    ]
    groups, unjudged = score(tasks, sampled, Mumbling(), step=2, policy="w")
    assert unjudged == 4
    assert [group.task.prompt.prompt_id for group in groups] == ["a"], "b has nothing to learn from"
    assert [(r.sample, r.reward, r.step, r.policy) for r in groups[0].rollouts] == [
        (0, 1.0, 2, "w"),
        (2, 0.0, 2, "w"),
    ]
    assert groups[0].pass_rate == 0.5, "of the judged ones"
