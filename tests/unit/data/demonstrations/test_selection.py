"""The demonstration of an arm: its mix by kind or source, a seeded draw by weight, and the choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import pytest

from hpt_core.data.demonstrations.selection import choose, entry_of, may_have_expert
from hpt_core.errors import InputError
from hpt_core.types import Trajectory


def trajectory(
    kind: Any, prompt: str = "p", n_tokens: int = 5, name: str = "t", source: str = "s", **more: Any
) -> Trajectory:
    return Trajectory(name, prompt, "r", kind, source, "a", "mit", "{}", True, n_tokens, "h", **more)


def shares(
    rows: Sequence[Trajectory], mix: Mapping[str, float], seed: int = 0, **choice: Any
) -> dict[str, Any]:
    """How often each of `rows` is chosen, over 4,000 prompts that all have copies of them.

    Three standard errors of a share are below 0.024.
    """
    counts = Counter[str]()
    for i in range(4000):
        trajectories = [
            trajectory(r.kind, f"{i}", r.n_tokens, f"{r.trajectory_id}/{i}", r.source, weight=r.weight)
            for r in rows
        ]
        chosen = choose(trajectories, mix, seed, **choice)
        counts[chosen.trajectory_id.partition("/")[0] if chosen else "none"] += 1
    return {name: pytest.approx(count / 4000, abs=0.024) for name, count in counts.items()}


def test_only_the_kinds_of_the_mix_and_only_those_the_prompt_has() -> None:
    both = [trajectory("human"), trajectory("teacher")]
    for chosen in (choose(both, {"teacher": 1.0}, seed) for seed in range(20)):
        assert chosen is both[1]
    assert choose(both, {"program": 1.0}, 0) is None
    assert choose(both, {"human": 0.0}, 0) is None
    assert choose([], {"human": 1.0}, 0) is None
    assert choose(both[:1], {"human": 0.01, "program": 1.0}, 0) is both[0]


HUMAN, TEACHER = trajectory("human", name="h"), trajectory("teacher", name="m")


def test_the_draw_follows_the_weights_over_prompts() -> None:
    both = [HUMAN, TEACHER]
    assert shares(both, {"human": 1.0, "teacher": 1.0}) == {"h": 0.5, "m": 0.5}
    assert shares(both, {"human": 0.3, "teacher": 0.1}) == {"h": 0.75, "m": 0.25}
    drawn = [
        [choose([trajectory("human", f"{i}"), trajectory("teacher", f"{i}")], mix, seed) for i in range(99)]
        for seed in (0, 1)
        for mix in [{"human": 0.3, "teacher": 0.1}]
    ]
    assert drawn[0] != drawn[1]


def test_the_draw_never_changes() -> None:
    mix = {"human": 0.3, "teacher": 0.2, "program": 0.5}
    chosen = (choose([trajectory(kind, f"p{i}") for kind in mix], mix, 17) for i in range(24))
    assert "".join(t.kind[0] for t in chosen if t) == "ttptpptthtppptphtpppthht"


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


def test_the_entry_of_a_source_takes_precedence_over_that_of_its_kind() -> None:
    mix = {"human": 0.5, "source/crowd": 0.5, "source/bots": 0.0}
    assert entry_of(mix, "human", "crowd") == "source/crowd"
    assert entry_of(mix, "human", "staff") == "human"
    assert entry_of(mix, "teacher", "crowd") == "source/crowd"
    assert entry_of(mix, "human", "bots") is None, "left out, although its kind has a weight"
    assert entry_of(mix, "teacher", "big") is None
    crowd = trajectory("human", name="c", source="crowd")
    staff = trajectory("human", name="f", source="staff", n_tokens=3)
    bots = trajectory("human", name="b", source="bots", n_tokens=1)
    assert choose([crowd, staff, bots], {"source/crowd": 1.0}, 0) is crowd
    assert choose([staff, bots], {"source/crowd": 1.0}, 0) is None
    assert shares([crowd, staff, bots], mix) == {"c": 0.5, "f": 0.5}
    assert shares([crowd, staff], {"source/crowd": 0.7, "source/staff": 0.3}) == {"c": 0.7, "f": 0.3}


def test_arms_of_the_same_weights_draw_alike_under_any_entry_names() -> None:
    """The number that is drawn depends on the prompt, so that arms differ by their mix alone."""
    for i in range(50):
        human = trajectory("human", f"{i}", source="a")
        teacher = trajectory("teacher", f"{i}", source="b")
        by_kind = choose([human, teacher], {"human": 0.4, "teacher": 0.6}, 1)
        assert by_kind is choose([human, teacher], {"source/a": 0.4, "source/b": 0.6}, 1)


def test_preferred_is_the_heaviest_entry_that_the_prompt_has() -> None:
    mix = {"teacher": 0.2, "human": 0.9, "source/code": 0.5}
    code = trajectory("program", name="c", source="code", n_tokens=1)
    short, long = trajectory("human", n_tokens=7), trajectory("human", n_tokens=9)
    teacher = trajectory("teacher", n_tokens=2)
    for seed in range(9):
        assert choose([code, teacher, long, short], mix, seed, "preferred") is short
        assert choose([teacher, code], mix, seed, "preferred") is code
        assert choose([teacher], mix, seed, "preferred") is teacher


def test_random_draws_by_the_weights_of_sources_not_by_their_numbers_of_responses() -> None:
    single = trajectory("human", name="x", source="few", weight=1.0)
    many = [trajectory("human", name=f"y{i}", source="many", n_tokens=9 + i, weight=3.0) for i in range(3)]
    result = shares([single, *many], {"human": 1.0}, choice="random")
    assert result == {"x": 0.25, "y0": 0.25, "y1": 0.25, "y2": 0.25}
    for order in permutations([single, *many]):
        assert choose(order, {"human": 1.0}, 4, "random") is choose(
            [single, *many], {"human": 1.0}, 4, "random"
        )
    chosen = {choose([single, *many], {"human": 1.0}, seed, "random") for seed in range(40)}
    assert len(chosen) == 4, "the draw depends on the seed"


def test_random_keeps_the_draw_of_the_kind() -> None:
    for i in range(50):
        rows = [trajectory(kind, f"{i}", name=name) for kind in ("human", "teacher") for name in "ab"]
        mix = {"human": 0.5, "teacher": 0.5}
        shortest, drawn = choose(rows, mix, 3), choose(rows, mix, 3, "random")
        assert shortest and drawn and shortest.kind == drawn.kind


def test_likeliest_has_the_highest_mean_log_probability() -> None:
    rows = [
        trajectory("human", n_tokens=n, name=name, base_logp=logp)
        for n, name, logp in ((3, "a", -2.0), (9, "c", -0.5), (8, "b", -0.5), (8, "d", -0.5))
    ]
    for order in permutations(rows):
        assert choose(order, {"human": 1.0}, 3, "likeliest") is rows[2], (
            "the shortest among equals, then the lowest id"
        )
    with pytest.raises(InputError, match=r"'s' has no base_logp.*experts\.base_logp: true"):
        choose([rows[0], trajectory("human")], {"human": 1.0}, 3, "likeliest")


def test_trajectories_of_several_prompts_are_a_programming_error() -> None:
    with pytest.raises(AssertionError, match="several prompts"):
        choose([trajectory("human", "p"), trajectory("human", "q")], {"human": 1.0}, 0)


def test_coverage_is_a_share_of_the_prompts_and_a_larger_one_has_them_too() -> None:
    names = [f"p{i}" for i in range(4000)]
    drawn = {share: {n for n in names if may_have_expert(n, share, 0)} for share in (0.1, 0.3, 1.0)}
    assert drawn[0.1] < drawn[0.3] < drawn[1.0] == set(names)
    # Three standard errors of a share are below 0.022.
    assert [len(of) / 4000 for of in drawn.values()] == [pytest.approx(s, abs=0.022) for s in drawn]
    assert drawn[0.3] != {name for name in names if may_have_expert(name, 0.3, 1)}
