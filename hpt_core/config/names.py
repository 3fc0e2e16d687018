"""Names that users give in params.yaml and that become parts of paths, of commands and of MLflow's keys."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

LONGEST = 64
"""Characters; folders and files around a name add to it, and a file system takes 255 bytes."""
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
"""Names that are devices on Windows, where a checkout with such a file cannot be made."""
_ASCII = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*")


def file_name_fault(name: str) -> str | None:
    """Why `name` cannot be the name of a file on every system; None if it can.

    Only ASCII is allowed, so that no two names look alike.
    """
    if len(name) > LONGEST:
        return f"the name has {len(name)} characters, and {LONGEST} are the most; shorten it"
    if not _ASCII.fullmatch(name) or name != name.rstrip(". ") or ".." in name:
        return "a name has ASCII letters, digits, _ - . and spaces, and begins with a letter, a digit or _"
    if _DEVICES.fullmatch(name):
        return f"{name!r} is a device on Windows; rename it"
    return None


def label_fault(name: str) -> str | None:
    """Why `name` cannot be a label that tables, logs and MLflow's tags show; None if it can."""
    if not name.strip() or len(name) > 4 * LONGEST:
        return f"a name has 1 to {4 * LONGEST} characters; rename it"
    if hidden := [char for char in name if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]:
        return f"a name has no invisible characters, such as {hidden[0]!a}; rename it"
    return None


def same_but_for_case(names: Iterable[str]) -> tuple[str, str] | None:
    """Two of the names that are one file where a file system ignores case; None if there are none."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.casefold(), name)) != name:
            return other, name
    return None
