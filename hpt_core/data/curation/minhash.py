"""Hashes of words, hashes of n-grams of words and MinHash signatures, for many texts at once.

The hash of a word is a polynomial in random values of its bytes; one running sum gives the hashes of a whole
batch. The same text has the same hashes on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]

SHINGLE = 3
"""Words of a shingle; near duplicates share most of their shingles."""
BANDS, ROWS = 16, 4
"""Shape of the MinHash signature: two texts of Jaccard similarity s share a band with probability
1 - (1 - s^4)^16, which is 0.64 for 0.5, 0.9998 for 0.8 (Leskovec et al., Mining of Massive Datasets, 3.4)."""

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_INVERSE = pow(_BASE, -1, 2**64)


def mix(values: Hashes) -> Hashes:
    """The finaliser of splitmix64: every bit of the output depends on every bit of the input."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _constants(start: int, count: int) -> Hashes:
    return mix(np.arange(start, start + count, dtype=np.uint64) * np.uint64(_BASE))


_BYTES = _constants(1, 256)
_FACTORS = _constants(1001, BANDS * ROWS) | np.uint64(1)
_SHIFTS = _constants(2001, BANDS * ROWS)


@lru_cache(maxsize=4)
def _powers(base: int, capacity: int) -> Hashes:
    factors = np.full(capacity, base, dtype=np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)


def word_hashes(texts: Sequence[str]) -> tuple[Hashes, Indices]:
    """[N] hashes of the words of D texts, and [D + 1] offsets at which the words of each text begin.

    `texts` are the results of `normalized_text`.
    """
    lengths = np.array([text.count(" ") + 1 if text else 0 for text in texts], dtype=np.int64)
    data = np.frombuffer("".join(f"{text} " for text in texts if text).encode(), dtype=np.uint8)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    if not len(data):
        return np.empty(0, np.uint64), offsets
    ends = np.flatnonzero(data == ord(" "))
    starts = np.concatenate(([0], ends[:-1] + 1))
    capacity = 1 << len(data).bit_length()
    sums = np.zeros(len(data) + 1, dtype=np.uint64)
    np.cumsum(_BYTES[data] * _powers(_BASE, capacity)[: len(data)], out=sums[1:])
    return mix((sums[ends] - sums[starts]) * _powers(_INVERSE, capacity)[starts]), offsets


def beginning_hashes(words: Hashes, offsets: Indices) -> Hashes:
    """[N] hashes; that of a word is over the words of its text up to and including this word."""
    sums = np.zeros(len(words) + 1, dtype=np.uint64)
    capacity = 1 << len(sums).bit_length()
    np.cumsum(words * _powers(_BASE, capacity)[: len(words)], out=sums[1:])
    starts = np.repeat(offsets[:-1], np.diff(offsets))
    return mix((sums[1:] - sums[starts]) * _powers(_INVERSE, capacity)[starts])


def gram_hashes(words: Hashes, offsets: Indices, size: int) -> tuple[Hashes, Indices]:
    """[M] hashes of the runs of `size` words in each text, and [D + 1] offsets where those of a text begin.

    A text of fewer words has one gram, the whole text; one without words has none.
    """
    lengths = np.diff(offsets)
    padded = np.where(lengths > 0, np.maximum(lengths, size), 0)
    places = np.concatenate(([0], np.cumsum(padded)))
    slots = np.zeros(places[-1], dtype=np.uint64)
    slots[np.arange(len(words)) + np.repeat(places[:-1] - offsets[:-1], lengths)] = words
    counts = np.where(padded > 0, padded - size + 1, 0)
    begins = np.concatenate(([0], np.cumsum(counts)))
    starts = np.arange(begins[-1]) + np.repeat(places[:-1] - begins[:-1], counts)
    grams = np.zeros(begins[-1], dtype=np.uint64)
    for i in range(size):
        grams = grams * np.uint64(_BASE) + slots[starts + i]
    return mix(grams), begins


def band_keys(words: Hashes, offsets: Indices, figures: Hashes) -> Hashes:
    """[BANDS, D] keys; two texts that share one are candidates for near duplicates.

    `figures` [D] is part of every key, so that texts with different `figures` never share one. It is the
    whole key of a text without words.
    """
    shingles, begins = gram_hashes(words, offsets, SHINGLE)
    not_empty = np.flatnonzero(np.diff(begins) > 0)
    keys = np.tile(mix(figures), (BANDS, 1))
    if len(not_empty):
        for band in range(BANDS):
            for row in range(band * ROWS, (band + 1) * ROWS):
                values = (shingles * _FACTORS[row] + _SHIFTS[row]) >> np.uint64(32)
                smallest = np.minimum.reduceat(values, begins[not_empty])
                keys[band, not_empty] = mix(keys[band, not_empty] + smallest * np.uint64(_BASE))
    return keys


def shingle_set(text: str) -> frozenset[str]:
    """The shingles of one text, as `band_keys` hashes them."""
    words = text.split()
    if len(words) <= SHINGLE:
        return frozenset([text] if words else [])
    return frozenset(" ".join(words[at : at + SHINGLE]) for at in range(len(words) - SHINGLE + 1))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """|a and b| / |a or b|; 1 for two empty sets."""
    union = len(a | b)
    return len(a & b) / union if union else 1.0
