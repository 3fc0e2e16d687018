"""A source entry as text to paste into params.yaml: short lines, comments behind what a user has to know."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hpt_core.config.data import TO_FILL_IN

WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z_/][\w ./@*+-]*")
_SPECIAL = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf"])
"""Words that a YAML reader may take for another value than a text."""


def source_text(keys: Mapping[str, Any], comments: Mapping[str, str], indent: int = 4) -> str:
    """The entry as an item of a YAML list, in lines of at most WIDTH columns where words allow it."""
    lines = [
        line for key, value in keys.items() for line in _lines(key, value, indent + 2, comments.get(key, ""))
    ]
    lines[0] = f"{' ' * indent}- {lines[0].lstrip()}"
    return "\n".join(lines)


def _lines(key: str, value: Any, indent: int, comment: str = "") -> Iterator[str]:
    pad = " " * indent
    if value == TO_FILL_IN:  # A reader of YAML takes it as a text here, and for a key in braces.
        yield f"{pad}{_scalar(key)}: {value}" + (f"  # {comment}" if comment else "")
        return
    behind = f"  # {comment}" if comment else ""
    line = f"{pad}{_scalar(key)}: {_flow(value)}"
    if len(line) <= WIDTH:
        yield line + behind if len(line + behind) <= WIDTH else f"{pad}# {comment}\n{line}"
    elif isinstance(value, Mapping):
        yield f"{pad}{_scalar(key)}:{behind}"
        for inner, item in value.items():
            yield from _lines(inner, item, indent + 2)
    elif isinstance(value, list):
        yield f"{pad}{_scalar(key)}:{behind}"
        for item in value:
            if isinstance(item, Mapping):
                yield source_text(item, {}, indent + 2)
            else:
                yield f"{pad}  - {_flow(item)}"
    else:
        yield f"{pad}{_scalar(key)}: {_folded(str(value), indent + 2)}{behind}"


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value == value.strip() and value.lower() not in _SPECIAL:
        return value
    return json.dumps(value, ensure_ascii=False)


def _folded(text: str, indent: int) -> str:
    """The text in quotes, broken after spaces: a backslash joins the lines again."""
    lines = [""]
    for word in re.findall(r"\S+\s*|\s+", json.dumps(text, ensure_ascii=False)):
        if lines[-1] and indent + len(lines[-1]) + len(word.rstrip()) > WIDTH - 2:
            lines.append("")
        lines[-1] += word
    # White space at the beginning of a line is dropped, so a break must not stand before a space.
    return f"\\\n{' ' * indent}".join(lines)
