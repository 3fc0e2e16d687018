"""Text to tokens under a chat template: a problem is a user turn, a response is the turn that answers it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from hpt_core.types import Prompt


class EncodedPrompts(NamedTuple):
    """Prompts as tokens, and the prompts that are too long."""

    prompts: dict[str, list[int]]
    """prompt_id -> tokens, ready for generation."""
    too_long: dict[str, int]
    """prompt_id -> length in tokens, for prompts over the limit."""


def with_system_prompt(template: str, system_prompt: str) -> str:
    """The Jinja template with a system turn before every conversation."""
    # Jinja decodes an escaped surrogate pair as two lone surrogates, which no tokenizer accepts.
    turn = json.dumps([{"role": "system", "content": system_prompt}], ensure_ascii=False)
    return f"{{%- set messages = {turn} + messages -%}}{template}"


class Chat:
    """A tokenizer and its chat template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def prompt(self, problem: str) -> list[int]:
        """Tokens of the conversation up to the point where the response begins."""
        turns = [{"role": "user", "content": problem}]
        encoded = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        return list(encoded)

    def response(self, text: str) -> list[int]:
        """Tokens of a response, the end-of-turn token included."""
        return [*self.tokenizer.encode(text, add_special_tokens=False), self.tokenizer.eos_token_id]

    def encode(self, prompts: Iterable[Prompt], limit: int) -> EncodedPrompts:
        """Tokens of each prompt; prompts longer than `limit` tokens are listed apart and never truncated."""
        encoded = {prompt.prompt_id: self.prompt(prompt.problem) for prompt in prompts}
        too_long = {prompt_id: len(tokens) for prompt_id, tokens in encoded.items() if len(tokens) > limit}
        return EncodedPrompts({i: tokens for i, tokens in encoded.items() if i not in too_long}, too_long)
