"""Text to tokens: a problem becomes a chat turn, a response the turn that follows it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from hpt_core.types import Prompt


class EncodedPrompts(NamedTuple):
    prompts: dict[str, list[int]]
    """prompt_id -> tokens, ready for generation."""
    too_long: dict[str, int]
    """prompt_id -> its length, for prompts over the limit."""


def with_system_prompt(template: str, system_prompt: str) -> str:
    """The Jinja template with a system turn put before every conversation."""
    # Jinja reads an escaped surrogate pair as two halves, which no tokenizer takes.
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
        """Tokens of each prompt; those longer than `limit` tokens are named, never cut."""
        encoded = {prompt.prompt_id: self.prompt(prompt.problem) for prompt in prompts}
        too_long = {name: len(tokens) for name, tokens in encoded.items() if len(tokens) > limit}
        return EncodedPrompts({name: t for name, t in encoded.items() if name not in too_long}, too_long)
