r"""Numbers in LaTeX, Markdown and Unicode as plain text: "\$9{,}500" as "$9,500", "\frac12" as "1/2"."""

from __future__ import annotations

import re

from hpt_core.verifier.answers.texts import plain_characters, plain_signs
from hpt_core.verifier.words import LATEX_TEXT

_LATEX = (
    (re.compile(r"\\[dtc]?frac\s?\{(-?[\d,.]{1,100})\}\s?\{([\d,.]{1,100})\}"), r" \1/\2 "),
    (re.compile(r"\\[dtc]?frac\s?(\d)\s?(\d)"), r" \1/\2 "),
    (re.compile(rf"\\(?:{LATEX_TEXT}|boxed)\s?\{{([^{{}}]*)\}}"), r" \1 "),
    (re.compile(r"\{([,.'])\}"), r"\1"),
    (re.compile(r"\\(?:times|cdot)\b"), "×"),
    (re.compile(r"\\(?:approx|simeq|sim)\b"), "≈"),
    (re.compile(r"\\(?:left|right|displaystyle|large|Large|bf|quad|qquad)(?![A-Za-z])"), " "),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\[,;: ]|~(?=\D)"), " "),
    (re.compile(r"\\([$%&#])"), r"\1"),
    (re.compile(r"\\[()\[\]]"), " "),
    (re.compile(r"\^\{?\\circ\}?|\\degree\b"), "°"),
    (re.compile(r"\{(-?\d{1,3})\}"), r"\1"),
)
"""(pattern, replacement), in this order. What they leave of LaTeX is not read."""
_EMPHASIS = re.compile(r"\*\*|__|`|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)|[\"“”]")
_SPACES = re.compile(r"[\s\u00a0\u2000-\u200b\u202f\u205f\u3000]+")


def plain_number(text: str) -> str:
    """`text` without markup, with "=" for "≈", and without the formula signs or brackets around the whole."""
    text = plain_signs(plain_characters(text))
    if "\\" in text or "{" in text:
        for pattern, replacement in _LATEX:
            text = pattern.sub(replacement, text)
    text = _SPACES.sub(" ", _EMPHASIS.sub("", text)).strip()
    while len(text) > 1 and text[0] == text[-1] == "$":
        text = text[1:-1].strip()
    if text[:1] + text[-1:] in ("()", "[]") and text[-1] not in text[1:-1]:
        text = text[1:-1].strip()
    text = text.removeprefix("≈").strip().replace("≈", "=")
    # "7.333..." is another number than 7.333.
    return text if text.endswith("..") else text.rstrip(" .:")
