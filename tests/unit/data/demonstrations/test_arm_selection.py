"""The demonstrations of an arm: the same prompts, as long, as many, several of a prompt, and wrong ones."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import pytest

from hpt_core.config import ArmConfig
from hpt_core.data.demonstrations.arm_selection import select
from hpt_core.errors import InputError
from hpt_core.types import Trajectory

PROMPTS = [f"p{i}" for i in range(40)]


def trajectory(
    source: str, prompt: str, n_tokens: int, kind: Any = "human", right: bool = True
) -> Trajectory:
    name = f"{source}/{prompt}/{n_tokens}"
    return Trajectory(name, prompt, name, kind, source, "a", "mit", "{}", right, n_tokens, "h")


def source(name: str, lengths: range, prompts: list[str] = PROMPTS, **more: Any) -> list[Trajectory]:
    """A trajectory of each prompt, with these lengths in turn."""
    return [trajectory(name, p, lengths[i % len(lengths)], **more) for i, p in enumerate(prompts)]


def names(selected: list[Trajectory]) -> list[str]:
    return [t.prompt_id for t in selected]


def mean(selected: list[Trajectory]) -> float:
    return fmean(t.n_tokens for t in selected)


PEOPLE = source("people", range(10, 30))
MODEL = source("model", range(8, 22), PROMPTS[:30], kind="teacher")


def test_arms_that_share_entries_have_demonstrations_for_the_same_prompts() -> None:
    both = ["human", "source/model"]
    of_people = select(PROMPTS, [*PEOPLE, *MODEL], ArmConfig(mix={"human": 1.0}, shared=both), 7)
    of_model = select(PROMPTS, [*PEOPLE, *MODEL], ArmConfig(mix={"teacher": 1.0}, shared=both), 7)
    assert names(of_people) == names(of_model) == PROMPTS[:30]
    assert {t.source for t in of_people} == {"people"} and {t.source for t in of_model} == {"model"}


def test_the_longest_are_left_out_until_the_means_agree() -> None:
    plain = ArmConfig(mix={"human": 1.0})
    arm = ArmConfig(mix={"human": 1.0}, match_length="teacher")
    everything, matched = (select(PROMPTS, [*PEOPLE, *MODEL], each, 7) for each in (plain, arm))
    assert mean(everything) > mean(MODEL) >= mean(matched)
    left_out = [t for t in everything if t not in matched]
    assert min(t.n_tokens for t in left_out) >= max(t.n_tokens for t in matched)
    assert mean([*matched, min(left_out, key=lambda t: t.n_tokens)]) > mean(MODEL), "none too many"
    tiny = source("tiny", range(1, 3), kind="program")
    with pytest.raises(
        InputError, match=r"shortest demonstration has 10 tokens, and those to match have 1\.5"
    ):
        select(PROMPTS, [*PEOPLE, *tiny], ArmConfig(mix={"human": 1.0}, match_length="program"), 7)
    shorter = select(PROMPTS, [*PEOPLE, *MODEL], ArmConfig(mix={"teacher": 1.0}, match_length="human"), 7)
    assert names(shorter) == PROMPTS[:30], "what is shorter already stays whole"


def test_a_larger_limit_has_the_same_demonstrations_and_more() -> None:
    few, more = (
        select(PROMPTS, PEOPLE, ArmConfig(mix={"human": 1.0}, max_demonstrations=n), 7) for n in (5, 9)
    )
    assert len(few) == 5 and len(more) == 9 and set(names(few)) < set(names(more))
    assert names(few) == sorted(names(few), key=PROMPTS.index), "in the order of the prompts"
    within = select(PROMPTS, PEOPLE, ArmConfig(mix={"human": 1.0}, max_tokens=200), 7)
    assert 200 - 29 < sum(t.n_tokens for t in within) <= 200


def test_several_demonstrations_of_a_prompt_follow_the_choice() -> None:
    rows = [*PEOPLE, *source("others", range(40, 41)), *MODEL]
    arm = ArmConfig(mix={"human": 1.0}, per_prompt=3)
    assert [(t.prompt_id, t.source) for t in select(PROMPTS[:2], rows, arm, 7)] == [
        ("p0", "people"),
        ("p0", "others"),
        ("p1", "people"),
        ("p1", "others"),
    ]


def test_a_share_is_replaced_by_wrong_ones_of_the_same_prompts_and_mix() -> None:
    wrong = source("people-wrong", range(12, 13), right=False)
    foreign = source("model-wrong", range(1, 2), kind="teacher", right=False)
    rows = [*PEOPLE, *wrong, *foreign]
    right, tenth, third = (
        select(PROMPTS, rows, ArmConfig(mix={"source/people": 1.0}, wrong_share=share), 7)
        for share in (0.0, 0.1, 0.3)
    )
    assert all(t.verified for t in right), "without a share, none is wrong"
    assert names(right) == names(tenth) == names(third) == PROMPTS
    mistaken = [{t.prompt_id for t in each if not t.verified} for each in (tenth, third)]
    assert [len(each) for each in mistaken] == [4, 12] and mistaken[0] < mistaken[1]
    assert {t.source for t in third if not t.verified} == {"people-wrong"}
    assert [t for t in third if t.verified] == [t for t in right if t.prompt_id not in mistaken[1]]


def test_too_few_wrong_ones_are_an_error() -> None:
    wrong = source("people-wrong", range(12, 13), PROMPTS[:3], right=False)
    with pytest.raises(InputError, match="is 12, and the mix has 3 wrong trajectories"):
        select(PROMPTS, [*PEOPLE, *wrong], ArmConfig(mix={"human": 1.0}, wrong_share=0.3), 7)
