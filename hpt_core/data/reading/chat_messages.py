"""What a value of a row says: text, the turns of a chat ({role, content}), or a list of either."""

from __future__ import annotations

from typing import Any


def is_chat(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and "role" in turn for turn in value)
    )


def are_several(value: Any) -> bool:
    """A list of responses: texts, or a chat for each."""
    return isinstance(value, list) and not is_chat(value)


def problem(value: Any) -> Any:
    """What the user said last in a chat; any other value as it is. Raises ValueError."""
    if not is_chat(value):
        return value
    said = [turn for turn in value if turn["role"] == "user"]
    if not said:
        raise ValueError("the chat has no turn of role 'user'")
    return said[-1].get("content")


def response(value: Any) -> Any:
    """The assistant's turn after the user's last in a chat; any other value as it is. Raises ValueError."""
    if not is_chat(value):
        return value
    asked = max((place for place, turn in enumerate(value) if turn["role"] == "user"), default=-1)
    said = [turn for turn in value[asked + 1 :] if turn["role"] == "assistant"]
    if len(said) != 1:
        raise ValueError(f"the chat has {len(said)} turns of role 'assistant' after the user's last, not one")
    return said[0].get("content")
