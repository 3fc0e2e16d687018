"""A policy from scratch: a lossless tokenizer and deterministic weights."""

from __future__ import annotations

import random

import pytest
import torch

from hpt_core.config import WarmStart
from hpt_core.policy.model import LoadedPolicy, weights_hash
from hpt_core.policy.warm_start import build_policy, build_tokenizer, train_warm_start

TEXTS = ["State the answer: 3 + 4 =", "3 + 4 = 7\n\\boxed{7}"] * 3
EXAMPLES = [("1 + 1 =", "2"), ("2 + 3 =", "5"), ("Spell stop", "pots")]


def test_the_tokenizer_is_lossless() -> None:
    tokenizer = build_tokenizer(TEXTS)
    draw = random.Random(3)
    texts = [
        "State the answer",
        "Statethe answer answers",
        "\\boxed{\\boxed",
        "  a \t\n\r\n b  ",
        "don't . , !",
        "",
    ]
    texts += [
        "".join(chr(draw.choice([draw.randrange(128), draw.randrange(0xD800)])) for _ in range(40))
        for _ in range(50)
    ]
    texts += ["🦊👩‍👩‍👧 Ñandú e\u0301 \u200b \ufeff 𐍈"]
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_frequent_words_are_one_token_and_others_are_bytes() -> None:
    tokenizer = build_tokenizer([*TEXTS, "rare"] * 10 + ["seldom"])
    assert len(tokenizer.encode("answer", add_special_tokens=False)) == 1
    assert len(tokenizer.encode("\\boxed", add_special_tokens=False)) == 1
    assert len(tokenizer.encode("seldom", add_special_tokens=False)) == 6


def test_building_is_deterministic(sizes: WarmStart) -> None:
    torch.manual_seed(1)
    one = build_policy(sizes, TEXTS, seed=5)
    torch.manual_seed(2)
    two = build_policy(sizes, TEXTS[::-1], seed=5)
    assert weights_hash(one.model) == weights_hash(two.model)
    assert one.tokenizer.get_vocab() == two.tokenizer.get_vocab()
    assert weights_hash(build_policy(sizes, TEXTS, seed=6).model) != weights_hash(one.model)


@pytest.fixture
def longer(sizes: WarmStart) -> WarmStart:
    return sizes.model_copy(update={"steps": 60, "batch_size": 4})


def test_training_is_deterministic_and_lowers_the_loss(longer: WarmStart) -> None:
    def trained(seed: int) -> tuple[LoadedPolicy, list[float]]:
        policy, losses = build_policy(longer, TEXTS, seed=5), list[float]()
        torch.manual_seed(random.randrange(10**6))
        train_warm_start(policy, EXAMPLES, longer, seed, lambda step, nll: losses.append(nll))
        return policy, losses

    (one, losses), (two, _), (other, _) = trained(1), trained(1), trained(2)
    assert weights_hash(one.model) == weights_hash(two.model) != weights_hash(other.model)
    assert len(losses) == 60 and losses[-1] < 0.2 * losses[0]
    assert not one.model.training
