"""Whether a problem stands in a longer text, numbers included and as sentences of its own."""

from __future__ import annotations

from bisect import bisect_left

from hpt_core.data.problems import overlap_key

_CLOSING = tuple(".?!:")
_WRAPPING = "$)]}\\*_ "
"""What may follow the closing mark of a sentence that ends in a formula, in brackets or in emphasis."""
_OPENING = "*_([{>#"


class Passage:
    """A text to look problems up in, by their `overlap_key`."""

    def __init__(self, problem: str) -> None:
        self.key = overlap_key(problem)
        self._lines = problem.splitlines(keepends=True)

    def holds(self, known: str) -> bool:
        """Whether the problem of this key stands here: "3 + 4" does not in "3 + 4.5" or "2 - 3 + 4"."""
        at = self.key.find(known)
        while at >= 0:
            end = at + len(known)
            closed = _ends(self.key[end : end + 3], known) or self._ends_line(end)
            if closed and _begins(self.key[:at], known):
                return True
            at = self.key.find(known, at + 1)
        return False

    def _ends_line(self, end: int) -> bool:
        """Whether so many characters of the key are those of the first lines, less a closing mark."""

        def size(lines: int) -> int:
            return len(overlap_key("".join(self._lines[:lines])))

        return size(bisect_left(range(len(self._lines)), end, key=size)) == end


def _begins(before: str, known: str) -> bool:
    # What begins with a number goes on from whatever stands before it, but for a sentence.
    if known[:1].isalpha():
        before = before.rstrip(_OPENING)
        return before[-1:] in ("", " ", *_CLOSING)
    if not before.endswith(" "):
        return not before
    return known[:1] in "$\\" or before.rstrip().endswith(_CLOSING)


def _ends(after: str, known: str) -> bool:
    if not after or known.rstrip(_WRAPPING).endswith(_CLOSING):
        return not after[:1].isalnum()
    if after[0] == " " and after[1:2] != ":":  # in "3 : 4" it is an operator
        after = after[1:]
    return after.startswith(_CLOSING) and not after[1:2].isalnum()
