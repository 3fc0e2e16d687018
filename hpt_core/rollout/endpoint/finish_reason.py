"""Why a response ended, in the words of each server.

A reason is compared in lower case, up to a colon, with "_" for all that is no letter or digit: MAX_TOKENS,
max-tokens and "content_filter: PROHIBITED_CONTENT" need no rows of their own.
"""

from __future__ import annotations

import re
from typing import Literal

End = Literal["stop", "length", "filtered", "tool", "failed"]
"""stop: the model ended its turn. length: a limit of tokens cut it off. filtered: a content filter took it.
tool: it is a call of a tool. failed: the server broke off, and the same request may succeed."""

ENDS: dict[End, tuple[str, ...]] = {
    "stop": (
        "stop",  # OpenAI, vLLM, SGLang, llama.cpp, Ollama, Gemini (STOP)
        "eos",  # Together, text-generation-webui
        "eos_token",  # TGI
        "end_turn",  # Anthropic, Amazon Bedrock
        "stop_sequence",  # TGI, Anthropic, Amazon Bedrock
        "stop_token",
        "end_of_turn",
        "end_of_sequence",
        "complete",  # Cohere
        "completed",
        "finish",
        "finished",
        "done",
        "finish_reason_stop",  # Vertex AI, as the name of an enum
    ),
    "length": (
        "length",  # OpenAI, vLLM, SGLang, llama.cpp, TGI, Ollama
        "max_tokens",  # Anthropic, Gemini (MAX_TOKENS), Cohere, Amazon Bedrock
        "max_new_tokens",
        "max_output_tokens",  # OpenAI's Responses API
        "max_completion_tokens",
        "max_length",
        "model_length",  # Mistral: the context is full
        "context_length",
        "context_length_exceeded",
        "model_context_window_exceeded",  # Anthropic, z.ai
        "token_limit",
        "truncated",
        "incomplete",
        "finish_reason_max_tokens",
    ),
    "filtered": (
        "content_filter",  # OpenAI, Azure, OpenRouter
        "content_filtered",  # Amazon Bedrock
        "guardrail_intervened",  # Amazon Bedrock
        "refusal",  # Anthropic
        "safety",  # Gemini, like the next seven
        "recitation",
        "blocklist",
        "prohibited_content",
        "spii",
        "language",
        "image_safety",
        "finish_reason_safety",
        "sensitive",  # Zhipu
        "error_toxic",  # Cohere
        "moderation",
        "blocked",
    ),
    "tool": (
        "tool_calls",  # OpenAI, vLLM
        "tool_call",
        "tool_use",  # Anthropic
        "function_call",  # OpenAI, before tools
        "malformed_function_call",  # Gemini, like the next
        "unexpected_tool_call",
    ),
    "failed": (
        "abort",  # vLLM, SGLang
        "aborted",
        "cancelled",
        "canceled",
        "error",  # OpenRouter, vLLM, Cohere
        "network_error",  # Zhipu
        "insufficient_system_resource",  # DeepSeek
        "timeout",
        "unload",  # Ollama
        "load",
    ),
}
_END = {reason: end for end, reasons in ENDS.items() for reason in reasons}


def end_of(reason: str) -> End | None:
    """What `reason` means; None for one that is not in the table."""
    words = re.sub(r"[^a-z0-9]+", "_", reason.partition(":")[0].lower()).strip("_")
    return _END.get(words)
