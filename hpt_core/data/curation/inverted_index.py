"""An index from hashes of texts to the benchmark problems that have them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hpt_core.data.curation.minhash import Hashes, Indices


class InvertedIndex:
    """Hash -> the benchmark problems that have it, without the hashes that too many problems share."""

    def __init__(self, hashes: Hashes, owners: Indices, max_problems: int) -> None:
        """`owners` [N]: the problem that has each of the N `hashes`.

        A hash that more than `max_problems` problems have is left out.
        """
        pairs = np.unique(np.stack([hashes, owners.astype(np.uint64)]), axis=1)
        values, first, counts = np.unique(pairs[0], return_index=True, return_counts=True)
        few = counts <= max_problems
        self.common: Hashes = values[~few]
        """The hashes that are left out."""
        self.values: Hashes = values[few]
        self.owners: Indices = pairs[1].astype(np.int64)
        self.rare: npt.NDArray[np.bool_] = np.repeat(few, counts)
        """For each of `owners`, whether its hash is in `values`."""
        self._first, self._counts = first[few], counts[few]

    def find(self, hashes: Hashes) -> Indices:
        """For each hash its index in `values`, or -1."""
        if not len(self.values):
            return np.full(len(hashes), -1)
        at = np.minimum(np.searchsorted(self.values, hashes), len(self.values) - 1)
        return np.where(self.values[at] == hashes, at, -1)

    def problems_at(self, index: int) -> list[int]:
        """The problems that have `values[index]`, in their order."""
        first = int(self._first[index])
        owners: list[int] = self.owners[first : first + int(self._counts[index])].tolist()
        return owners


def with_owners(hashes: Hashes, begins: Indices) -> tuple[Hashes, Indices]:
    """The hashes, and for each the number of the text it comes from."""
    return hashes, np.repeat(np.arange(len(begins) - 1), np.diff(begins))


def whole_text_hashes(starts: Hashes, offsets: Indices) -> tuple[Hashes, Indices]:
    """The hash of each text that has words, and the number of the text."""
    not_empty = np.flatnonzero(np.diff(offsets))
    return starts[offsets[not_empty + 1] - 1], not_empty
