"""What `hpt check` finds of one input: a source, a model, an arm or the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Check:
    """An input, and what was found."""

    what: str
    """Its place in params.yaml, or a part of the machine."""
    found: str
    """What there is of it: counts of rows, or the kind of a model."""
    warnings: list[str] = field(default_factory=list)
    """Rows that would be left out."""
    errors: list[str] = field(default_factory=list)
    """Why a stage would stop."""
    usable: int | None = None
    """Rows that can be used, among those that were read; None where none were read."""


def errors(checks: Sequence[Check]) -> list[str]:
    """What would stop a stage, one line each."""
    return [f"{check.what}: {error}" for check in checks for error in check.errors]
