"""Which of the prompts say the same: exactly, in conflict, or nearly. Arrays of a few bytes a prompt.

Near duplicates are prompts whose shingles (3 words in a row, numbers as one sign) have at least a given
Jaccard similarity, and which have the same figures (numbers and operators, in order) and the same answer:
"4 + 3" and "4 - 3" share their words, and so do two words to be spelled backward, but they are different
problems. MinHash and banding (Broder 1997) find the candidates, and the texts themselves decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from hpt_core.data.curation.minhash import BANDS, Hashes, Places, jaccard, shingle_set
from hpt_core.data.curation.spool import Spool
from hpt_core.data.curation.text_normalize import normalized_text
from hpt_core.data.problems import same_answer

Reason = Literal["duplicate", "conflicting_answers", "near_duplicate"]
REASONS: tuple[Reason, ...] = ("duplicate", "conflicting_answers", "near_duplicate")


@dataclass
class Repeats:
    """For each of N prompts whether it goes, and because of which other one."""

    size: int
    reason: npt.NDArray[np.int8] = field(init=False)
    """0, or 1 + the place in REASONS."""
    partner: Places = field(init=False)
    """The one that it repeats, or the first that has another answer."""
    similarity: npt.NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        self.reason = np.zeros(self.size, np.int8)
        self.partner = np.full(self.size, -1, np.int64)
        self.similarity = np.ones(self.size, np.float32)

    def drop(self, at: int, reason: Reason, partner: int, similarity: float = 1.0) -> None:
        self.reason[at] = 1 + REASONS.index(reason)
        self.partner[at], self.similarity[at] = partner, similarity

    def kept(self, at: int) -> int:
        """`at` itself, or the prompt that stays in its place."""
        while self.reason[at]:
            at = int(self.partner[at])
        return at


def mark_exact(repeats: Repeats, ids: Hashes, alive: npt.NDArray[np.bool_], spool: Spool) -> None:
    """Of the `alive` prompts with one id ([N] uint64) all but the first go, or all if two answers differ."""
    for group in _groups(ids, np.flatnonzero(alive)):
        first, rest = int(group[0]), group[1:].tolist()
        answer = spool[first].prompt.answer
        odd = next((at for at in rest if not same_answer(spool[at].prompt.answer, answer)), None)
        if odd is None:
            for at in rest:
                repeats.drop(at, "duplicate", first)
            continue
        for at in (first, *rest):
            agrees = same_answer(spool[at].prompt.answer, answer)
            repeats.drop(at, "conflicting_answers", odd if agrees else first)


class Bands:
    """The band keys of all prompts."""

    def __init__(self, files: Sequence[BinaryIO]) -> None:
        """`files`: an empty one for each of the BANDS bands."""
        assert len(files) == BANDS
        self._files = files

    def add(self, keys: Hashes) -> None:
        """`keys` [BANDS, D] of the next D prompts."""
        for file, values in zip(self._files, keys, strict=True):
            file.write(values.tobytes())

    def __iter__(self) -> Iterator[Hashes]:
        """[N] for each band."""
        for file in self._files:
            file.seek(0)
            yield np.fromfile(file, dtype=np.uint64)


def mark_near(
    repeats: Repeats, bands: Bands, alive: npt.NDArray[np.bool_], spool: Spool, threshold: float
) -> None:
    """A prompt goes for the first one before it that it is at least `threshold` similar to.

    In each band it is compared with what stays of the first and of the nearest before it.
    """

    @lru_cache(maxsize=4096)
    def shingles(at: int) -> frozenset[str]:
        return shingle_set(normalized_text(spool[at].prompt.problem))

    refused = np.full(repeats.size, -1, np.int64)
    for keys in bands:
        rows = np.flatnonzero(alive & (repeats.reason == 0))
        for at, *others in _pairs(keys, rows):
            for other in sorted({repeats.kept(other) for other in others}):
                # One wording is the first of many a band.
                if refused[at] == other:
                    continue
                similarity = jaccard(shingles(at), shingles(other))
                if similarity >= threshold:
                    repeats.drop(at, "near_duplicate", other, similarity)
                    break
                refused[at] = other


def _pairs(keys: Hashes, rows: Places) -> Iterator[Sequence[int]]:
    """(row, first with its key, nearest before it with its key), in the order of rows."""
    order, same = _sorted(keys, rows)
    at = np.flatnonzero(same) + 1
    starts = np.maximum.accumulate(np.where(np.concatenate(([False], same)), 0, np.arange(len(order))))
    later = np.stack([order[at], order[starts[at]], order[at - 1]], axis=1)
    for row in later[np.argsort(later[:, 0], kind="stable")]:
        yield row.tolist()


def _groups(keys: Hashes, rows: Places) -> Iterator[Places]:
    """The rows that share a key with another one, in their order, group by group."""
    order, same = _sorted(keys, rows)
    inside = np.concatenate(([False], same)) | np.concatenate((same, [False]))
    begins = np.flatnonzero(inside & ~np.concatenate(([False], same)))
    for begin in begins.tolist():
        end = begin + 1
        while end < len(order) and same[end - 1]:
            end += 1
        yield order[begin:end]


def _sorted(keys: Hashes, rows: Places) -> tuple[Places, npt.NDArray[np.bool_]]:
    """`rows` by key and then by place; for each but the first, whether it has the key of the one before."""
    order = rows[np.argsort(keys[rows], kind="stable")]
    by_key = keys[order]
    return order, by_key[1:] == by_key[:-1]
