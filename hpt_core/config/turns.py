"""How the turns of a conversation are read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hpt_core.config.base import Config


class Turns(Config):
    """How conversations of a source are read. The keys role and content or from and value, and the usual
    names of the roles (user, human; assistant, gpt, model, bot), need no mention."""

    role: str | None = None
    """Key of a turn's role; null: `role` or `from`."""
    text: str | None = None
    """Key of a turn's text; null: `content` or `value`."""
    user: list[str] = Field(default_factory=list)
    """Further names of the role that states the problem."""
    assistant: list[str] = Field(default_factory=list)
    """Further names of the role that responds."""
    use: Literal["last", "first"] = "last"
    """Which exchange of a longer conversation is read. It is the last turn of the user or the first, and the
    assistant's turn after it. report.json counts the rows with other turns, under `unused_turns`."""
    thinking: Literal["keep", "drop"] | None = None
    """What becomes of thinking in a field of its own, such as reasoning_content. keep puts it before the
    response, between `<think>` and `</think>`. Null: such a row is quarantined."""
