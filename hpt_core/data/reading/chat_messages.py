"""The problem and the response in a value that is a text, a chat ({role, content} messages) or a list of
either."""

from __future__ import annotations

from typing import Any


def is_chat(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(message, dict) and "role" in message for message in value)
    )


def is_list_of_values(value: Any) -> bool:
    """Whether `value` holds one entry for each of several responses: texts, chats or marks."""
    return isinstance(value, list) and not is_chat(value)


def problem_in(value: Any) -> Any:
    """The content of a chat's last user message; a value that is no chat is returned as it is.

    Raises ValueError for a chat without a user message.
    """
    if not is_chat(value):
        return value
    user_messages = [message for message in value if message["role"] == "user"]
    if not user_messages:
        raise ValueError("the chat has no turn of role 'user'")
    return user_messages[-1].get("content")


def response_in(value: Any) -> Any:
    """The content of the assistant message after a chat's last user message; other values as they are.

    Raises ValueError if that is not exactly one message.
    """
    if not is_chat(value):
        return value
    last_user = max((i for i, message in enumerate(value) if message["role"] == "user"), default=-1)
    replies = [message for message in value[last_user + 1 :] if message["role"] == "assistant"]
    if len(replies) != 1:
        raise ValueError(
            f"the chat has {len(replies)} turns of role 'assistant' after the user's last, not one"
        )
    return replies[0].get("content")
