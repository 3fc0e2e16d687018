"""What a run was made of, by name, so that two of them can be told apart in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "run.json"
SHOWN = 6


def fingerprint(origin: Mapping[str, Any]) -> str:
    """16 hex digits that name the run: what is kept of any other is not resumed."""
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:16]


def differences(path: Path, origin: Mapping[str, Any]) -> str:
    """Names of what the run that left its origin at `path` and one of this origin do not share."""
    if not path.exists():
        return "code"  # that which left none
    there, here = _flat(json.loads(path.read_text())), _flat(origin)
    names = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, part in value.items():
        flat |= _flat(part, f"{prefix}{name}.") if isinstance(part, Mapping) else {prefix + name: part}
    return flat
