"""Groups: only rollouts with a verdict have a reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hpt_core.config import HintConfig
from hpt_core.rollout.group import Group, score
from hpt_core.rollout.hint import hinted
from hpt_core.trainer.batch import rows_of
from hpt_core.types import Completion, Verdict


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
    judged, mute = score(tasks, sampled, Mumbling(), step=2, policy="w")
    assert [(r.sample, r.reward, r.step, r.policy) for r in judged.rollouts] == [
        (0, 1.0, 2, "w"),
        (1, None, 2, "w"),
        (2, 0.0, 2, "w"),
    ]
    assert judged.pass_rate == 0.5, "of the judged ones"
    assert judged.decidable and not mute.decidable
    assert [rollout.reward for rollout in mute.rollouts] == [None] * 3
    assert [len(rows_of([group])) for group in (judged, mute)] == [2, 0], "no reward, no row to train on"


def test_one_verdict_of_many_decides_nothing(make_group: Callable[..., Group]) -> None:
    task = make_group("a", [0]).task
    texts = [Completion(text, (1,), (-1.0,), "stop") for text in ("7", "?", "?")]
    [group] = score([task], [texts], Mumbling(), step=1, policy="w")
    assert group.rewards == [1.0] and not group.decidable, "a baseline of one is no baseline"


def test_hint_and_response_are_read_as_one_text(make_group: Callable[..., Group]) -> None:
    """SentencePiece drops the space at the start of a text, so that two texts would read "is4"."""
    pieces = {1: "▁It", 2: "▁is", 3: "▁4"}

    def decode(tokens: Sequence[int]) -> str:
        return "".join(pieces[token] for token in tokens).replace("▁", " ").removeprefix(" ")

    class Reading:
        def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
            return [Verdict(response == "It is 4", None) for response, _, _ in items]

    task = replace(make_group("a", [0], "human").task, demonstration=[1, 2, 9])
    whole = HintConfig(slices=1, high=1.0, low=1.0, steps=10)
    [given] = hinted([task], whole, step=1, seed=1, decode=decode)
    assert given.tokens == [*task.tokens, 1, 2] and given.opening == "It is"
    [group] = score([given], [[Completion("4", (3,), (-1.0,), "stop")]], Reading(), step=1, policy="w")
    assert [rollout.reward for rollout in group.rollouts] == [1.0]
