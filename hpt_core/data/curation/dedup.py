"""Repeated prompts: exact duplicates, conflicting answers and near duplicates, in a few bytes a prompt.

Near duplicates are prompts whose shingles (3 words in a row, numbers as one sign) have at least a given
Jaccard similarity, and which have the same figures (numbers and operators, in order) and the same answer:
"4 + 3" and "4 - 3" share their words, and so do two words to be spelled backward, but they are different
problems. MinHash and banding (Broder 1997) find the candidates, and the similarity of the texts decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from hpt_core.data.curation.minhash import BANDS, Hashes, Indices, jaccard, shingle_set
from hpt_core.data.curation.spool import Spool
from hpt_core.data.curation.text_normalize import normalized_text
from hpt_core.data.problems import same_answer

Reason = Literal["duplicate", "conflicting_answers", "near_duplicate"]
REASONS: tuple[Reason, ...] = ("duplicate", "conflicting_answers", "near_duplicate")


@dataclass
class Repeats:
    """For each of N prompts whether it is dropped as a repeat, and because of which other prompt."""

    size: int
    reason: npt.NDArray[np.int8] = field(init=False)
    """[N], 0 for a prompt that stays, else 1 + the index in REASONS."""
    partner: Indices = field(init=False)
    """[N], the prompt that this one repeats, or the first one with another answer; -1 for none."""
    similarity: npt.NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        self.reason = np.zeros(self.size, np.int8)
        self.partner = np.full(self.size, -1, np.int64)
        self.similarity = np.ones(self.size, np.float32)

    def drop(self, index: int, reason: Reason, partner: int, similarity: float = 1.0) -> None:
        self.reason[index] = 1 + REASONS.index(reason)
        self.partner[index], self.similarity[index] = partner, similarity

    def kept(self, index: int) -> int:
        """`index` itself, or the prompt that stays in its place."""
        while self.reason[index]:
            index = int(self.partner[index])
        return index


def mark_exact(repeats: Repeats, ids: Hashes, candidates: npt.NDArray[np.bool_], spool: Spool) -> None:
    """Drop all but the first of the `candidates` with one id ([N] uint64), or all if two answers differ."""
    for group in _groups(ids, np.flatnonzero(candidates)):
        first, others = int(group[0]), group[1:].tolist()
        answer = spool[first].prompt.answer
        conflicting = next((i for i in others if not same_answer(spool[i].prompt.answer, answer)), None)
        if conflicting is None:
            for i in others:
                repeats.drop(i, "duplicate", first)
            continue
        for i in (first, *others):
            agrees = same_answer(spool[i].prompt.answer, answer)
            repeats.drop(i, "conflicting_answers", conflicting if agrees else first)


class BandKeys:
    """The band keys of all prompts, in files."""

    def __init__(self, files: Sequence[BinaryIO]) -> None:
        """`files`: an empty one for each of the BANDS bands."""
        assert len(files) == BANDS
        self._files = files

    def add(self, keys: Hashes) -> None:
        """Append `keys` [BANDS, D] of the next D prompts."""
        for file, values in zip(self._files, keys, strict=True):
            file.write(values.tobytes())

    def __iter__(self) -> Iterator[Hashes]:
        """[N] keys for each band."""
        for file in self._files:
            file.seek(0)
            yield np.fromfile(file, dtype=np.uint64)


def mark_near(
    repeats: Repeats,
    band_keys: BandKeys,
    candidates: npt.NDArray[np.bool_],
    spool: Spool,
    threshold: float,
) -> None:
    """Drop a prompt for the first earlier prompt to which its similarity is at least `threshold`.

    In each band it is compared with what is kept of the first and of the nearest earlier prompt with its key.
    """

    @lru_cache(maxsize=4096)
    def shingles(index: int) -> frozenset[str]:
        return shingle_set(normalized_text(spool[index].prompt.problem))

    refused = np.full(repeats.size, -1, np.int64)
    for keys in band_keys:
        rows = np.flatnonzero(candidates & (repeats.reason == 0))
        for row, *earlier in _pairs(keys, rows):
            for other in sorted({repeats.kept(other) for other in earlier}):
                # A prompt with common words meets the same earlier prompt in most bands.
                if refused[row] == other:
                    continue
                similarity = jaccard(shingles(row), shingles(other))
                if similarity >= threshold:
                    repeats.drop(row, "near_duplicate", other, similarity)
                    break
                refused[row] = other


def _pairs(keys: Hashes, rows: Indices) -> Iterator[Sequence[int]]:
    """(row, first row with its key, nearest earlier row with its key), in the order of rows."""
    order, same = _sorted(keys, rows)
    at = np.flatnonzero(same) + 1
    starts = np.maximum.accumulate(np.where(np.concatenate(([False], same)), 0, np.arange(len(order))))
    later = np.stack([order[at], order[starts[at]], order[at - 1]], axis=1)
    for row in later[np.argsort(later[:, 0], kind="stable")]:
        yield row.tolist()


def _groups(keys: Hashes, rows: Indices) -> Iterator[Indices]:
    """The rows that share a key with another one, in their order, group by group."""
    order, same = _sorted(keys, rows)
    inside = np.concatenate(([False], same)) | np.concatenate((same, [False]))
    begins = np.flatnonzero(inside & ~np.concatenate(([False], same)))
    for begin in begins.tolist():
        end = begin + 1
        while end < len(order) and same[end - 1]:
            end += 1
        yield order[begin:end]


def _sorted(keys: Hashes, rows: Indices) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """`rows` sorted by key, then by index; for each but the first, whether the previous has the same key."""
    order = rows[np.argsort(keys[rows], kind="stable")]
    by_key = keys[order]
    return order, by_key[1:] == by_key[:-1]
