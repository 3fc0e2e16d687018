"""Text that models and strangers wrote, made safe for a terminal."""

from __future__ import annotations

import re
from typing import Final

from hpt_core.errors import COLOUR

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move the cursor, clear the screen, set the title or turn the order of letters; also lone
surrogates, which no terminal can be sent. Tab and newline stay."""


def printable(text: str) -> str:
    r"""`text` in which colours are left out and every other control character stands as an escape, \x1b."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], COLOUR.sub("", text))
