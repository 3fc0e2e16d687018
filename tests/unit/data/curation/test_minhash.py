"""Hashes: equal for equal words in any position, and MinHash against exact similarity."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hpt_core.data.curation.minhash import (
    BANDS,
    ROWS,
    band_keys,
    beginning_hashes,
    gram_hashes,
    jaccard,
    shingle_set,
    word_hashes,
)

TEXTS = ["the cat sat on the mat", "", "cat", "sat on the mat the cat", "é # 求"]


def test_a_word_has_one_hash_in_any_position() -> None:
    words, offsets = word_hashes(TEXTS)
    assert offsets.tolist() == [0, 6, 6, 7, 13, 16]
    by_word: dict[str, set[int]] = {}
    for word, value in zip(" ".join(filter(None, TEXTS)).split(), words.tolist(), strict=True):
        by_word.setdefault(word, set()).add(value)
    assert all(len(values) == 1 for values in by_word.values())
    assert len(set.union(*by_word.values())) == len(by_word)
    alone, _ = word_hashes(TEXTS[3:4])
    assert alone.tolist() == words[7:13].tolist()


def test_word_hashes_never_change() -> None:
    # The choice among near duplicates depends on them, and so do the bytes of train.parquet.
    assert [hex(value) for value in word_hashes(["cat mat"])[0].tolist()] == [
        "0xb25cf0aaf4056c5f",
        "0xa5c0ba4cf74e43b2",
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_grams_are_those_of_each_text_alone(size: int) -> None:
    grams, begins = gram_hashes(*word_hashes(TEXTS), size)
    hash_of: dict[tuple[str, ...], int] = {}
    for at, text in enumerate(TEXTS):
        words = text.split()
        last = max(1, len(words) - size + 1) if words else 0
        expected = [tuple(words[i : i + size]) for i in range(last)]
        values = grams[begins[at] : begins[at + 1]].tolist()
        assert len(values) == len(expected)
        for gram, value in zip(expected, values, strict=True):
            assert hash_of.setdefault(gram, value) == value
    assert len(set(hash_of.values())) == len(hash_of)


def test_a_beginning_has_one_hash_in_every_text() -> None:
    words, offsets = word_hashes(["a b c d", "z a b", "a b c"])
    starts = beginning_hashes(words, offsets)
    assert starts[:3].tolist() == starts[7:].tolist()
    assert len(set(starts[:7].tolist())) == 7


def test_texts_share_bands_as_often_as_theory_predicts() -> None:
    draw = random.Random(0)
    texts, similarities = [], []
    for _ in range(400):
        words = [f"w{draw.randrange(10_000)}" for _ in range(60)]
        changed = [word if draw.random() > 0.08 else f"v{draw.randrange(10_000)}" for word in words]
        texts += [" ".join(words), " ".join(changed)]
        similarities.append(jaccard(shingle_set(texts[-2]), shingle_set(texts[-1])))
    keys = band_keys(*word_hashes(texts), np.zeros(len(texts), np.uint64))
    shared = (keys[:, ::2] == keys[:, 1::2]).mean(axis=0)
    expected = np.array(similarities) ** ROWS
    # Three standard deviations of the mean of 400 * 16 draws.
    assert abs(shared.mean() - expected.mean()) < 3 * 0.5 / np.sqrt(400 * BANDS)
    assert np.corrcoef(shared, expected)[0, 1] > 0.8


def test_texts_with_other_figures_never_share_a_band() -> None:
    words, offsets = word_hashes(["a b c d e"] * 2 + [""] * 2)
    same = band_keys(words, offsets, np.array([5, 5, 6, 7], np.uint64))
    other = band_keys(words, offsets, np.array([5, 9, 6, 7], np.uint64))
    assert (same[:, 0] == same[:, 1]).all() and not (same[:, 2] == same[:, 3]).any()
    assert not (other[:, 0] == other[:, 1]).any()


def test_jaccard() -> None:
    assert jaccard(shingle_set("a b c d"), shingle_set("a b c e")) == pytest.approx(1 / 3)
    assert jaccard(shingle_set("a b"), shingle_set("a b")) == 1.0
    assert jaccard(shingle_set(""), shingle_set("")) == 1.0
