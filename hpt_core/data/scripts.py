"""The scripts (Latin, Cyrillic, Han) that a text is written in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

SCRIPT_SHARE = 0.9
"""Share of a text's letters that must be in the configured scripts; names and symbols come from others."""

_LETTERS = re.compile(r"[^\W\d_]+")
_HAN_IN_UNICODE = "CJK"
_NO_SCRIPT = ("", "MODIFIER", "MATHEMATICAL", "FEMININE", "MASCULINE", "MICRO")
"""First words of the Unicode names of signs that count as letters and belong to no script."""


def letter_runs(text: str) -> list[str]:
    """The runs of letters in `text`, in their order."""
    return _LETTERS.findall(text)


def other_script(text: str, scripts: Sequence[str], key: str) -> str | None:
    """Why `text` is not in `scripts`, the value of the parameter `key`; None if it is."""
    letters = "".join(letter_runs(text))
    if letters.isascii() and "Latin" in scripts:
        return None
    letter_scripts = [script for letter in letters if (script := script_of(letter))]
    inside = sum(script in scripts for script in letter_scripts)
    share = inside / len(letter_scripts) if letter_scripts else 1.0
    if share >= SCRIPT_SHARE:
        return None
    return f"{share:.0%} of its letters are in {key} {list(scripts)}; {SCRIPT_SHARE:.0%} have to be"


@lru_cache(maxsize=65536)
def script_of(letter: str) -> str | None:
    """The script of a letter, from its Unicode name; None for a sign that belongs to no script."""
    name = unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "").split(" ", 1)[0]
    if name in _NO_SCRIPT:
        return None
    return "Han" if name == _HAN_IN_UNICODE else name.capitalize()
