"""The problem and the response in a value that is a text or a chat.

A chat is a list of {role, content} or {from, value} turns, or a text that holds one as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpt_core.config import Turns
from hpt_core.data.reading.values import Unreadable, list_in
from hpt_core.thinking import with_thinking

ROLES: Mapping[str, frozenset[str]] = {
    "user": frozenset({"user", "human", "prompter"}),
    "assistant": frozenset({"assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "ai", "bing", "bard"}),
    "system": frozenset({"system", "developer"}),
}
"""Our role -> the names that data sets give it, in lower case."""
_OURS = {name: role for role, names in ROLES.items() for name in names}
ROLE_KEYS = ("role", "from")
TEXT_KEYS = ("content", "value", "text")
THINKING_KEYS = ("reasoning_content", "reasoning", "thinking", "reasoning_text", "thought", "thoughts")
"""Keys of a turn under which servers and data sets keep what the model thought before it answered."""
THINKING_PARTS = ("thinking", "reasoning")
"""Types of the parts of a content that are thinking, beside `text`."""

Turn = Mapping[str, Any]


@dataclass(frozen=True)
class Exchange:
    """The turns of a chat that are read, and what the others are."""

    roles: Sequence[str]
    """The role of each turn of the chat: our name of it, or its own where we have none."""
    user: Turn | None
    assistants: Sequence[Turn]
    """The assistant's turns between the user's turn and the user's next one."""
    unused: frozenset[str]
    """`system`, `earlier` and `later` turns, and other roles by their names."""


def is_chat(value: Any, turns: Turns) -> bool:
    keys = ROLE_KEYS if turns.role is None else (turns.role,)
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and any(key in turn for key in keys) for turn in value)
    )


def is_list_of_values(value: Any, turns: Turns) -> bool:
    """Whether `value` holds one entry for each of several responses: texts, chats or marks."""
    return isinstance(value, list) and not is_chat(value, turns)


def chat_in(value: Any, turns: Turns) -> Any:
    """The chat or the list that a text holds as JSON; other values as they are."""
    held = list_in(value)
    if isinstance(held, list) and held and isinstance(held[0], dict) and not is_chat(held, turns):
        return value
    return held


def problem_in(value: Any, turns: Turns) -> Any:
    """The text of the user's turn that `turns.use` names; a value that is no chat is returned as it is.

    Raises Unreadable for a chat without a turn of the user.
    """
    chat = exchange_in(value, turns)
    if chat is None:
        return value
    if chat.user is None:
        hint = _roles_hint(chat, "user")
        raise Unreadable("not_a_chat", f"the chat has no turn of role 'user'{hint}")
    return _text(chat.user, turns)


def response_in(value: Any, turns: Turns) -> Any:
    """The text of the assistant's turn that answers the user's; other values as they are.

    Raises Unreadable if that is not exactly one turn, or if it has thinking and `turns.thinking` does not say
    what becomes of it.
    """
    chat = exchange_in(value, turns)
    if chat is None:
        return value
    replies = chat.assistants
    if len(replies) != 1:
        detail = (
            f"the chat has {len(replies)} turns of role 'assistant' after the user's {turns.use}, not one"
        )
        hint = "" if "assistant" in chat.roles else _roles_hint(chat, "assistant")
        raise Unreadable("not_a_chat", detail + hint)
    return _with_thinking(replies[0], _text(replies[0], turns), turns)


def exchange_in(value: Any, turns: Turns) -> Exchange | None:
    """The turns of a chat that `turns.use` names; None for other values. An exchange is returned as it is."""
    if isinstance(value, Exchange):
        return value
    return _exchange(value, turns) if is_chat(value, turns) else None


def _exchange(chat: Sequence[Turn], turns: Turns) -> Exchange:
    roles = [_role(turn, turns) for turn in chat]
    users = [i for i, role in enumerate(roles) if role == "user"]
    start = -1 if not users else users[0] if turns.use == "first" else users[-1]
    end = next((i for i in users if i > start), len(chat)) if users else len(chat)
    unused = {role for role in roles if role not in ("user", "assistant")}
    unused |= {"earlier" for role in roles[: max(start, 0)] if role in ("user", "assistant")}
    unused |= {"later" for role in roles[end:] if role in ("user", "assistant")}
    assistants = [chat[i] for i in range(start + 1, end) if roles[i] == "assistant"]
    return Exchange(roles, chat[start] if users else None, assistants, frozenset(unused))


def _role(turn: Turn, turns: Turns) -> str:
    """Our name of the turn's role, or its own where we have none."""
    keys = ROLE_KEYS if turns.role is None else (turns.role,)
    name = str(next((turn[key] for key in keys if key in turn), None)).strip()
    for role, further in (("user", turns.user), ("assistant", turns.assistant)):
        if name in further:
            return role
    return _OURS.get(name.lower(), name)


def _roles_hint(chat: Exchange, role: str) -> str:
    names = list(dict.fromkeys(chat.roles))
    unknown = next((name for name in names if name not in ROLES), "NAME")
    return f"; its roles are {names}; name the one that counts as such: `turns: {{{role}: [{unknown}]}}`"


def _text(turn: Turn, turns: Turns) -> Any:
    """The text of a turn, whose content may be a list of parts."""
    keys = TEXT_KEYS if turns.text is None else (turns.text,)
    key = next((key for key in keys if key in turn), None)
    if key is None or turn[key] is None:
        others = [name for name in sorted(turn) if name not in ROLE_KEYS and isinstance(turn[name], str)]
        hint = f"; it has texts in {others}: `turns: {{text: {others[0]}}}` reads it" if others else ""
        raise Unreadable("wrong_type", f"the text of the turn is NoneType; it has {sorted(turn)}{hint}")
    content = turn[key]
    if not isinstance(content, list) or not content:
        return content
    if not all(isinstance(part, dict) and part.get("type") in ("text", *THINKING_PARTS) for part in content):
        return content
    return "".join(str(part.get("text") or "") for part in content if part["type"] == "text")


def _thinking(turn: Turn) -> str:
    """What the turn holds of its thinking outside of its text; "" if nothing."""
    fields = [turn[key] for key in THINKING_KEYS if turn.get(key)]
    content = turn.get("content")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    fields += [
        part.get(kind) or part.get("text")
        for kind in THINKING_PARTS
        for part in parts
        if part.get("type") == kind
    ]
    texts = list(dict.fromkeys(field if isinstance(field, str) else repr(field) for field in fields if field))
    return "\n\n".join(text for text in texts if text.strip())


def _with_thinking(turn: Turn, text: Any, turns: Turns) -> Any:
    """The text with the turn's thinking before it, if the source keeps that."""
    thinking = _thinking(turn)
    if not thinking or not isinstance(text, str) or thinking.strip() in text or turns.thinking == "drop":
        return text
    if turns.thinking == "keep":
        return with_thinking(thinking, text)
    raise Unreadable(
        "thinking_not_said",
        f"the assistant's turn has {len(thinking)} characters of thinking in a field of its own "
        f"({sorted(turn)}); say what becomes of it: `turns: {{thinking: keep}}` puts it before the response, "
        "between <think> and </think>, and `drop` leaves it out",
    )
