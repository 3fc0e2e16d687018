"""The version of the verifier: two scores are comparable only where the same one judged the responses."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("math-verify", "latex2sympy2-extended", "sympy", "reasoning-gym")
"""The distributions that decide verdicts beside the code of this folder."""


def verifier_version() -> str:
    """16 hex digits of the code of this folder and the versions of `LIBRARIES`."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    for name in LIBRARIES:
        digest.update(f"{name} {_version(name)}".encode())
    return digest.hexdigest()[:16]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
