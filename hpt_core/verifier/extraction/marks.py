"""Answers between marks that programs read: <answer> tags, a JSON object, the line after ####."""

from __future__ import annotations

import json
import re

from hpt_core.verifier.extraction.boxes import Stated, is_placeholder

_TAG = re.compile(r"<(/?)(?:final[_ -]?)?answer>", re.IGNORECASE)
_KEY = re.compile(
    r"""["'](?:final|correct|predicted)?[_ ]?(?:answer|ans|choice)["']\s{0,4}:\s{0,4}""", re.IGNORECASE
)
_LITERAL = re.compile(r"""("(?:[^"\\\n]|\\.){0,2000}"|'(?:[^'\\\n]|\\.){0,2000}'|[-\w.]{1,200})""")
_UNESCAPED = re.compile(r"[\x08\x0c\t\r]|\n(?=e[q ]|u\b|abla)")
"""What JSON makes of \\b, \\f, \\t, \\r and \\n where a LaTeX command was meant."""


def last_tagged(text: str) -> Stated | None:
    """The content of the last <answer>...</answer>, to the end of the text if the tag is not closed."""
    if "<" not in text:
        return None
    end: int | None = None
    for tag in reversed(list(_TAG.finditer(text))):
        if tag[1]:
            end = tag.start()
            continue
        inside = text[tag.end() : len(text) if end is None else end].strip()
        if not is_placeholder(inside):
            return Stated(tag.start(), len(text) if end is None else end, inside)
        end = tag.start()
    return None


def last_in_json(text: str) -> Stated | None:
    """The value of the last key "answer" or "final_answer" of a JSON object."""
    if '"' not in text and "':" not in text:
        return None
    keys = list(_KEY.finditer(text))[-3:]
    for key in reversed(keys):
        value = _json_value(text, key.end())
        if value is not None and not is_placeholder(value[0]):
            return Stated(key.start(), value[1], value[0])
    return None


def _json_value(text: str, start: int) -> tuple[str, int] | None:
    window = text[start : start + 4000]
    try:
        value, length = json.JSONDecoder().raw_decode(window)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, list) and value and all(isinstance(part, str | int | float) for part in value):
        return ", ".join(map(str, value)), start + length
    if isinstance(value, str) and not _UNESCAPED.search(value):
        return value.strip(), start + length
    # A number keeps its spelling, and a text in which LaTeX was not escaped is taken as it is written.
    literal = _LITERAL.match(window)
    if literal is None or literal[1].lower() in ("null", "none"):
        return None
    return literal[1].strip("\"'").strip(), start + literal.end()


def hash_lines(text: str) -> list[Stated]:
    """The texts after ####, the last first, each to the end of its line, or of the next if it is empty."""
    found: list[Stated] = []
    at = text.rfind("####")
    while at >= 0 and len(found) < 8:
        start = at + 4
        if text[start : start + 1] != "#":  # ##### is a heading of the fifth level
            window = text[start : start + 2000]
            line = window.lstrip().partition("\n")[0].strip()
            found.append(Stated(at, start + window.find(line) + len(line), line))
        at = text.rfind("####", 0, max(at - 2, 0))
    return found
