"""Text that models and strangers wrote, made safe for a terminal."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from hpt_core.errors import COLOUR

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move the cursor, clear the screen, set the title or turn the order of letters; also lone
surrogates, which no terminal can be sent. Tab and newline stay."""


def printable(text: str) -> str:
    r"""`text` in which colours are left out and every other control character stands as an escape, \x1b."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], COLOUR.sub("", text))


def printable_json(value: Any) -> str:
    """`value` as JSON on one line, in which control characters are escaped and other letters stand."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
