"""Chats of any keys and role names: who asks, who replies, and what `turns` of a source has to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hpt_core.config import Turns
from hpt_core.data.inspection.fields import Field, is_list_of_objects
from hpt_core.data.reading.chat_messages import (
    ROLE_KEYS,
    ROLES,
    TEXT_KEYS,
    THINKING_KEYS,
    problem_in,
    response_in,
)
from hpt_core.data.reading.values import Unreadable

_MOST_ROLES = 5
_ROLE_KEYS = ("speaker", "sender", "author", "participant", "name", "who", "party")
"""Further names of the key of a role."""


@dataclass(frozen=True)
class Chat:
    """A field that holds chats, and how its source has to read them."""

    column: Field
    role: str
    """The key of a turn's role."""
    text: str
    """The key of a turn's text."""
    turns: dict[str, Any] = field(default_factory=dict)
    """What `turns` of the source has to say; empty where the usual names are used."""

    @property
    def roles(self) -> list[str]:
        """The names of the roles, in the order in which they speak."""
        return list(dict.fromkeys(role for chat in self.column.present for role, _ in self.spoken(chat)))

    @property
    def problems(self) -> Field:
        """The texts of the user's turns, as a field of texts."""
        return self._read(problem_in)

    @property
    def replies(self) -> Field:
        """The texts of the assistant's turns that answer them."""
        return self._read(response_in)

    def spoken(self, chat: list[dict[str, Any]]) -> list[tuple[str, Any]]:
        """Role and text of each turn."""
        return [(str(turn.get(self.role)), turn.get(self.text)) for turn in chat]

    def _read(self, reader: Callable[[Any, Turns], Any]) -> Field:
        turns = Turns(**self.turns)
        texts = [_text(chat, turns, reader) for chat in self.column.values]
        return Field(self.column.path, tuple(texts))


def _text(chat: Any, turns: Turns, reader: Callable[[Any, Turns], Any]) -> str | None:
    try:
        text = reader(chat, turns)
    except Unreadable:
        return None
    return text if isinstance(text, str) and text.strip() else None


def chat_in(found: Field) -> Chat | None:
    """The chat that a field holds, if the items of its lists are turns; None for other fields."""
    chats = [value for value in found.present if is_list_of_objects(value)]
    if not chats or len(chats) < len(found.present):
        return None
    all_turns = [turn for chat in chats for turn in chat]
    keys = set.intersection(*(set(turn) for turn in all_turns))
    role = next((key for key in ROLE_KEYS if key in keys), None) or _role_key(all_turns, keys)
    text = next((key for key in TEXT_KEYS if any(key in turn for turn in all_turns)), None)
    text = text or _text_key(all_turns, keys - {role})
    if role is None or text is None:
        return None
    turns: dict[str, Any] = {}
    if role not in ROLE_KEYS:
        turns["role"] = role
    if text not in TEXT_KEYS:
        turns["text"] = text
    turns |= _further_roles(chats, role)
    if any(
        isinstance(turn.get(key), str) and turn[key].strip() for turn in all_turns for key in THINKING_KEYS
    ):
        turns["thinking"] = "keep"
    return Chat(found, role, text, turns)


def _role_key(turns: Sequence[dict[str, Any]], keys: set[str]) -> str | None:
    """The key with few values that change from turn to turn.

    Samples of several models look alike, but have more keys, such as their marks.
    """
    for key in sorted(keys):
        if key not in _ROLE_KEYS and any(len(turn) > 2 for turn in turns):
            continue
        values = [turn[key] for turn in turns]
        if not all(isinstance(value, str) and value.isidentifier() for value in values):
            continue
        changes = sum(a != b for a, b in pairwise(values))
        if 2 <= len(set(values)) <= _MOST_ROLES and changes >= 0.8 * (len(values) - 1):
            return key
    return None


def _text_key(turns: Sequence[dict[str, Any]], keys: set[str]) -> str | None:
    """The key with the longest texts."""
    texts = {
        key: sum(len(turn[key]) for turn in turns)
        for key in sorted(keys)
        if all(isinstance(turn[key], str) for turn in turns)
    }
    return max(texts, key=lambda key: texts[key], default=None)


def _further_roles(chats: Sequence[Sequence[dict[str, Any]]], role: str) -> dict[str, list[str]]:
    """The names of the roles that need mention: of those unknown, the one that speaks first asks."""
    names = list(dict.fromkeys(str(turn[role]).strip() for chat in chats for turn in chat))
    unknown = [name for name in names if not any(name.lower() in known for known in ROLES.values())]
    known = {ours for ours, known in ROLES.items() for name in names if name.lower() in known}
    missing = [ours for ours in ("user", "assistant") if ours not in known]
    return {ours: [name] for ours, name in zip(missing, unknown, strict=False)}
