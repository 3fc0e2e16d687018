"""The scripts (Latin, Cyrillic, Han) that a text is written in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

_LETTERS = re.compile(r"[^\W\d_]+")


SCRIPT_SHARE = 0.9
"""Of the letters of a problem that are in the scripts asked for: names and symbols come from others."""


_UNICODE_NAMES = {"Han": "CJK"}


def other_script(text: str, scripts: Sequence[str], key: str) -> str | None:
    """Why `text` is not in `scripts`, which the parameter `key` names."""
    letters = "".join(_LETTERS.findall(text))
    if letters.isascii() and "Latin" in scripts:
        return None
    found = [script for letter in letters if (script := script_of(letter))]
    share = sum(script in scripts for script in found) / len(found) if found else 1.0
    if share >= SCRIPT_SHARE:
        return None
    return f"{share:.0%} of its letters are in {key} {list(scripts)}; {SCRIPT_SHARE:.0%} have to be"


@lru_cache(maxsize=65536)
def script_of(letter: str) -> str | None:
    """The script of a letter, from its Unicode name; None for signs that are letters of no script."""
    name = unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "").split(" ", 1)[0]
    if name in ("", "MODIFIER", "MATHEMATICAL", "FEMININE", "MASCULINE", "MICRO"):
        return None
    return "Han" if name == _UNICODE_NAMES["Han"] else name.capitalize()
