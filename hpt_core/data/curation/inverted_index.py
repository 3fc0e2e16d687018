"""Hashes of texts, and which texts have each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hpt_core.data.curation.minhash import Hashes, Places


class InvertedIndex:
    """Hashes of texts, each with the benchmark problems that have it, but for those that too many have."""

    def __init__(self, hashes: Hashes, owners: Places, max_problems: int) -> None:
        pairs = np.unique(np.stack([hashes, owners.astype(np.uint64)]), axis=1)
        values, first, counts = np.unique(pairs[0], return_index=True, return_counts=True)
        few = counts <= max_problems
        self.common: Hashes = values[~few]
        self.values: Hashes = values[few]
        self.owners: Places = pairs[1].astype(np.int64)
        self.rare: npt.NDArray[np.bool_] = np.repeat(few, counts)
        self._first, self._counts = first[few], counts[few]

    def find(self, hashes: Hashes) -> Places:
        """For each hash its place in `values`, or -1."""
        if not len(self.values):
            return np.full(len(hashes), -1)
        at = np.minimum(np.searchsorted(self.values, hashes), len(self.values) - 1)
        return np.where(self.values[at] == hashes, at, -1)

    def of(self, place: int) -> list[int]:
        """The problems at a place in `values`, in their order."""
        first = int(self._first[place])
        owners: list[int] = self.owners[first : first + int(self._counts[place])].tolist()
        return owners


def owned(hashes: Hashes, begins: Places) -> tuple[Hashes, Places]:
    """The hashes, each with the number of its text."""
    return hashes, np.repeat(np.arange(len(begins) - 1), np.diff(begins))


def wholes(starts: Hashes, offsets: Places) -> tuple[Hashes, Places]:
    """The hash of each text that has words, and the number of the text."""
    full = np.flatnonzero(np.diff(offsets))
    return starts[offsets[full + 1] - 1], full
