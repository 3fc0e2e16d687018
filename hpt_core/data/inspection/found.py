"""A value that was found in the rows, and what a source has to say to read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hpt_core.data.inspection.fields import Field

Entry = str | dict[str, Any] | list[Any]
"""What `columns` of a source says of one of our fields, as YAML holds it."""


@dataclass(frozen=True)
class Found:
    """A value that a person would read from each row."""

    column: Field
    """The texts as they are read."""
    entry: Entry
    turns: dict[str, Any] = field(default_factory=dict)
    """What `turns` of the source has to say, if the value is a chat."""
    note: str = ""
    """What a user should know of it, as a comment."""
