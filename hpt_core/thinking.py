"""The tags around a model's thinking, and what a response states outside of them."""

from __future__ import annotations

import re

TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<seed:think>": "</seed:think>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|START_THINKING|>": "<|END_THINKING|>",
}
"""Opening -> closing tag. They belong to a response, also where a tokenizer has them as special tokens."""
CHANNELS = {
    "<|channel|>analysis<|message|>": "<|channel|>final<|message|>",
    "<|channel>thought": "<channel|>",
}
"""The same for models that write to channels (gpt-oss, Gemma 4), whose tags consist of several tokens."""
CHANNEL_TOKENS = ("<|channel|>", "<|message|>", "<|channel>", "<channel|>")
"""The special tokens in the tags of CHANNELS."""

_PAIRS = TAGS | CHANNELS
_PATTERNS = {
    opening: re.compile(f"{re.escape(opening)}|{re.escape(closing)}") for opening, closing in _PAIRS.items()
}


def outside_thinking(response: str) -> str | None:
    """The response without its thinking; None if its thinking is not closed, so that it states nothing yet.

    What stands before a closing tag without an opening one is thinking too: the prompt had opened it.
    """
    text: str | None = response
    for opening, closing in _PAIRS.items():
        if text is not None and (opening in text or closing in text):
            text = _without(text, opening)
    return text


def unclosed_thinking(text: str) -> str:
    """The end of `text` from an opening tag that is not closed; "" without one."""
    start = max((_unclosed_at(text, opening) for opening in _PAIRS), default=-1)
    return text[start:] if start >= 0 else ""


def with_opening_tag(response: str) -> str:
    """The response, with an opening tag where it closes thinking that only its prompt had opened."""
    for opening, closing in TAGS.items():
        thought, closed, _ = response.partition(closing)
        if closed and opening not in thought:
            return f"{opening}\n{response.lstrip()}"
    return response


def with_thinking(thinking: str, answer: str) -> str:
    """One response of a thinking and an answer that a server or a data set keeps apart."""
    thought = thinking.strip()
    marked = thought if outside_thinking(thought) == "" else f"<think>\n{thought}\n</think>"
    return f"{marked}\n\n{answer.lstrip()}"


def without_empty_thinking(text: str) -> str:
    """The text without blocks of thinking that have no content."""
    for opening, closing in TAGS.items():
        text = re.sub(rf"{re.escape(opening)}\s*{re.escape(closing)}\s*", "", text)
    return text


def leading_tag(text: str) -> str:
    """The opening tag that `text` begins with; "" without one."""
    return next((opening for opening in TAGS if text.startswith(opening)), "")


def closing_tag(text: str) -> str:
    """The tag that closes the thinking which `text` begins with."""
    return next(closing for opening, closing in _PAIRS.items() if text.startswith(opening))


def _without(text: str, opening: str) -> str | None:
    visible: list[str] = []
    inside, position = False, 0
    for tag in _PATTERNS[opening].finditer(text):
        opens = tag.group() == opening
        if opens and not inside:
            visible.append(text[position : tag.start()])
        elif not opens and not inside:
            visible.clear()
        # An opening tag within the thinking is a word of it, as in "I write <think> first".
        inside, position = opens, tag.end()
    return None if inside else "".join([*visible, text[position:]])


def _unclosed_at(text: str, opening: str) -> int:
    start = text.rfind(opening)
    return start if _PAIRS[opening] not in text[start:] else -1
