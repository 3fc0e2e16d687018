"""The responses of one origin in a data set's rows, and what shows who wrote them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hpt_core.data.inspection import contents
from hpt_core.data.inspection.fields import Field
from hpt_core.data.inspection.found import Entry
from hpt_core.data.inspection.names import names_a_model, suggests_a_model


@dataclass(frozen=True)
class Response:
    """The responses of one origin in each row."""

    column: Field
    """The texts; of several samples, the first one of each row."""
    entry: Entry
    turns: dict[str, Any] = field(default_factory=dict)
    count: Field | None = None
    """The field whose values are lists of samples; marks of the same lengths belong to it."""
    in_chat: bool = False
    author: str | None = None
    """The path of the column that names who wrote each response."""

    @property
    def by_model(self) -> str | None:
        """What shows that a model wrote them; None where nothing does."""
        texts = self.column.texts
        if contents.share(texts, contents.has_thinking) >= 0.3:
            return "thinking between tags"
        if contents.share(texts, contents.muses) >= 0.5:
            return "texts that think aloud"
        if self.author is not None and names_a_model(self.author):
            return f"the column {self.author}"
        if names_a_model(self.column.name):
            return f"the name {self.column.name}"
        return "an assistant's turn" if self.in_chat else None

    @property
    def rewrites(self) -> list[str]:
        """The clean-ups of `rewrite` that the texts need."""
        marks = {"gsm8k": contents.has_gsm8k_marks, "think": contents.has_thought_tags}
        return [name for name, test in marks.items() if contents.mostly(self.column, test)]

    @property
    def likely_model(self) -> bool:
        return suggests_a_model(self.column.name)
