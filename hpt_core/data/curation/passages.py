"""Search for a problem, numbers included, as whole sentences of a longer text."""

from __future__ import annotations

from bisect import bisect_left

from hpt_core.data.problems import overlap_key

_CLOSING = tuple(".?!:")
_WRAPPING = "$)]}\\*_ "
"""Characters that may follow the closing mark of a sentence in a formula, in brackets or in emphasis."""
_OPENING = "*_([{>#"
"""Characters that may precede the first word of a sentence."""


class Passage:
    """A text in which problems are searched by their `overlap_key`."""

    def __init__(self, problem: str) -> None:
        self.key = overlap_key(problem)
        self._lines = problem.splitlines(keepends=True)

    def contains(self, key: str) -> bool:
        """Whether the text contains the problem of `key`. "3 + 4.5" does not contain "3 + 4"."""
        at = self.key.find(key)
        while at >= 0:
            end = at + len(key)
            closed = _ends(self.key[end : end + 3], key) or self._ends_line(end)
            if closed and _begins(self.key[:at], key):
                return True
            at = self.key.find(key, at + 1)
        return False

    def _ends_line(self, end: int) -> bool:
        """Whether the first `end` characters of the key are the key of some first lines of the text."""

        def key_length(lines: int) -> int:
            return len(overlap_key("".join(self._lines[:lines])))

        return key_length(bisect_left(range(len(self._lines)), end, key=key_length)) == end


def _begins(before: str, key: str) -> bool:
    # A key that begins with a number continues the text before it, unless a sentence ends there.
    if key[:1].isalpha():
        before = before.rstrip(_OPENING)
        return before[-1:] in ("", " ", *_CLOSING)
    if not before.endswith(" "):
        return not before
    return key[:1] in "$\\" or before.rstrip().endswith(_CLOSING)


def _ends(after: str, key: str) -> bool:
    if not after or key.rstrip(_WRAPPING).endswith(_CLOSING):
        return not after[:1].isalnum()
    if after[0] == " " and after[1:2] != ":":  # in "3 : 4" the colon is an operator
        after = after[1:]
    return after.startswith(_CLOSING) and not after[1:2].isalnum()
