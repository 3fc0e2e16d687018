"""Checksums of the files of a checkpoint: a changed byte would give another model without a word."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpt_core.files import write_json
from hpt_core.fingerprint import file_hash, json_hash

SEAL = "seal"
"""Key of the hash of all other keys."""


def hashes(folder: Path) -> dict[str, str]:
    """File of `folder` -> sha256."""
    return {path.name: file_hash(path) for path in sorted(folder.iterdir())}


def check(folder: Path, expected: Mapping[str, str]) -> None:
    """Raises ValueError for a file whose bytes are not those that were written, OSError for a missing one."""
    for name, written in expected.items():
        if file_hash(folder / name) != written:
            raise ValueError(f"{folder / name} has other bytes than were written")


def write_sealed(path: Path, contents: Mapping[str, Any]) -> None:
    """Write `contents` as JSON, with their own hash."""
    write_json(path, {**contents, SEAL: json_hash(contents)})


def read_sealed(path: Path) -> dict[str, Any]:
    """The contents that `write_sealed` wrote. Raises ValueError or KeyError for any others, OSError."""
    contents: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if contents.pop(SEAL) != json_hash(contents):
        raise ValueError(f"{path} has other bytes than were written")
    return contents
