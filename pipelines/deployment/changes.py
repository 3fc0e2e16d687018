"""What `hpt deploy` has created or changed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Changes:
    """Lines to be printed; none where the server was as it should be."""

    lines: list[str] = field(default_factory=list)

    def note(self, verb: str, what: str) -> None:
        self.lines.append(f"{verb}: {what}")
