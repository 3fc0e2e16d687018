"""The parts of a message as servers spell them: the answer, the reasoning apart from it, and a refusal.

content            a string, null, or a list of parts (Mistral, Anthropic, OpenAI's Responses API)
reasoning_content  DeepSeek, vLLM before 0.11, SGLang, llama.cpp, Qwen, xAI, Moonshot
reasoning          vLLM, OpenRouter, Groq, Together, Ollama
thinking           Ollama's own API, Cohere
reasoning_details  OpenRouter: [{"type": "reasoning.text", "text": ...}]
thinking_blocks    LiteLLM: [{"type": "thinking", "thinking": ...}]
refusal            OpenAI, Azure
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hpt_core import thinking

REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks")
"""The first of these with a text is the reasoning; some servers send the same text in two."""


@dataclass(frozen=True)
class Message:
    """What a model wrote."""

    content: str
    """The answer; "" if there is none."""
    reasoning: str | None
    refusal: str | None
    calls_tool: bool


def read_message(message: dict[str, Any]) -> Message:
    """The parts of `message`, the turn of a model. Raises ValueError for a part that is no text."""
    parts = list(_parts(message.get("content")))
    content = "".join(text for kind, text in parts if kind == "text")
    reasoning = "".join(text for kind, text in parts if kind == "reasoning") or next(
        (text for field in REASONING_FIELDS if (text := _text(message.get(field)))), None
    )
    refusal = "".join(text for kind, text in parts if kind == "refusal") or message.get("refusal")
    return Message(
        content,
        reasoning,
        str(refusal) if refusal else None,
        bool(message.get("tool_calls") or message.get("function_call")),
    )


def with_reasoning(content: str, reasoning: str) -> str:
    """The response as a reasoning model writes it: its reasoning between thinking marks, then the answer.

    Without an answer the thinking is left open, since nothing says that the model closed it.
    """
    if any(tag in content for pair in thinking.TAGS.items() for tag in pair):
        return content  # The server sends the reasoning twice.
    opening, closing = next(iter(thinking.TAGS.items()))
    thought = f"{opening}\n{reasoning.strip()}\n"
    return f"{thought}{closing}\n\n{content.lstrip()}" if content.strip() else thought


def _parts(content: object) -> Iterator[tuple[str, str]]:
    """The kind (text, reasoning, refusal) and the text of each part of a message's content."""
    match content:
        case None:
            return
        case str(text):
            yield "text", text
        case list(parts):
            for part in parts:
                yield _part(part)
        case _:
            raise ValueError(f"its content is a {type(content).__name__}")


def _part(part: object) -> tuple[str, str]:
    match part:
        case str(text):
            return "text", text
        case {"type": "text" | "output_text", "text": str(text)}:
            return "text", text
        case {"type": "refusal", "refusal": str(text)}:
            return "refusal", text
        case {"type": "thinking" | "reasoning" | "redacted_thinking"}:
            return "reasoning", _text(part)
        case {"text": str(text)}:
            return "text", text
        case {"type": "text" | "output_text", "text": None}:
            return "text", ""
        case {"type": kind}:
            raise ValueError(f"its content has a part of type {kind!r}")
        case _:
            raise ValueError("its content has a part that is no text")


def _text(reasoning: object) -> str:
    """The text of a reasoning field, which may be nested in lists and parts; "" if there is none."""
    match reasoning:
        case str(text):
            return text
        case list(parts):
            return "".join(map(_text, parts))
        case dict(part):
            return next(
                (
                    text
                    for key in ("text", "thinking", "summary", "content")
                    if (text := _text(part.get(key)))
                ),
                "",
            )
        case _:
            return ""
