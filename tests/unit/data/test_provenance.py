"""The arm's expert: its mix, a seeded draw by weight, the shortest within the kind."""

from __future__ import annotations

from typing import Any

import pytest

from hpt_core.data.provenance import choose
from hpt_core.types import Trajectory


def trajectory(kind: Any, prompt: str = "p", n_tokens: int = 5, name: str = "t") -> Trajectory:
    return Trajectory(name, prompt, "r", kind, "s", "a", "mit", "{}", True, n_tokens, "h")


def test_only_the_kinds_of_the_mix_and_only_those_the_prompt_has() -> None:
    both = [trajectory("human"), trajectory("teacher")]
    for chosen in (choose(both, {"teacher": 1.0}, seed) for seed in range(20)):
        assert chosen is both[1]
    assert choose(both, {"program": 1.0}, 0) is None
    assert choose(both, {"human": 0.0}, 0) is None
    assert choose([], {"human": 1.0}, 0) is None
    assert choose(both[:1], {"human": 0.01, "program": 1.0}, 0) is both[0]


def test_the_draw_follows_the_weights_over_prompts() -> None:
    def share(mix: dict[str, float], seed: int = 0) -> float:
        chosen = [
            choose([trajectory("human", f"{i}"), trajectory("teacher", f"{i}")], mix, seed)
            for i in range(4000)
        ]
        return sum(t is not None and t.kind == "teacher" for t in chosen) / len(chosen)

    # Three standard errors of a share of 4,000 draws are below 0.024.
    assert share({"human": 1.0, "teacher": 1.0}) == pytest.approx(0.5, abs=0.024)
    assert share({"human": 0.3, "teacher": 0.1}) == pytest.approx(0.25, abs=0.024)
    assert share({"human": 0.3, "teacher": 0.1}, seed=1) != share({"human": 0.3, "teacher": 0.1})


def test_the_draw_ignores_the_order_and_depends_on_the_seed() -> None:
    rows = [trajectory("human"), trajectory("teacher")]
    mix = {"human": 0.5, "teacher": 0.5}
    for seed in range(20):
        assert choose(rows, mix, seed) is choose(rows[::-1], mix, seed)
    assert {t.kind for seed in range(20) if (t := choose(rows, mix, seed))} == {"human", "teacher"}


def test_within_a_kind_the_shortest_then_the_lowest_id() -> None:
    rows = [
        trajectory("human", n_tokens=n, name=name) for n, name in ((9, "a"), (4, "c"), (4, "b"), (5, "0"))
    ]
    assert choose(rows, {"human": 1.0}, 3) == rows[2]


def test_trajectories_of_several_prompts_are_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError, match="several prompts"):
        choose([trajectory("human", "p"), trajectory("human", "q")], {"human": 1.0}, 0)
