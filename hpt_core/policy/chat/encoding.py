"""Text to tokens under a chat template, and back: a problem is a user turn, a response the turn after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from hpt_core.policy.chat.control_tokens import ControlTokenError, ControlTokens
from hpt_core.policy.chat.template import render
from hpt_core.policy.chat.turns import (
    PROBLEM,
    AssistantTurn,
    from_problem,
    read_template,
    without_white_space,
)
from hpt_core.thinking import CHANNEL_TOKENS, TAGS, closing_tag, leading_tag, with_opening_tag
from hpt_core.types import Prompt

THINKING_TOKENS = (*TAGS.keys(), *TAGS.values(), *CHANNEL_TOKENS)
"""Special tokens that stay in the text of a response, since they tell its thinking from its answer."""
PROMPT_END = 16
"""Tokens at the end of a prompt in which an opened thinking tag is looked for."""


class EncodedPrompts(NamedTuple):
    """Prompts as tokens, and the prompts that are left out."""

    prompts: dict[str, list[int]]
    """prompt_id -> tokens, ready for generation."""
    too_long: dict[str, int]
    """prompt_id -> length in tokens, for prompts over the limit."""
    unencodable: dict[str, str] = {}  # noqa: RUF012, a NamedTuple's default is never changed
    """prompt_id -> reason, for prompts that spell a control token which cannot be encoded as text."""


class Chat:
    """A tokenizer and its chat template. What the template fails on raises InputError."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def prompt(self, problem: str) -> list[int]:
        """Tokens of the conversation up to the point where the response begins.

        A control token that the problem spells is encoded as text. Raises ControlTokenError where the
        tokenizer cannot do that.
        """
        if self.control.spelled_in(problem):
            return self.control.encode(self._rendered_prompt(self.control.hide(problem)))
        return self._plain(self._rendered_prompt(problem))

    def response(self, text: str) -> list[int]:
        """Tokens of a response as the template's turn has it after the generation prompt, to the end of turn.

        The template's own text around a response belongs to it, such as a space or an empty thinking block.
        Thinking that the generation prompt opened is not opened twice, and closed if the response has none.
        A control token that the response spells is encoded as text; raises ControlTokenError where the
        tokenizer cannot do that.
        """
        hidden = self.control.spelled_in(text) is not None
        content = with_opening_tag(self.control.hide(text) if hidden else text)
        body = self._as_rendered(content)
        if body is None:
            body = self._assembled(content)
        return self._continue(body + self.turn.closing, hidden=hidden)

    def text(self, token_ids: Sequence[int]) -> str:
        """The assistant's turn with these tokens, as text: thinking that the generation prompt opened comes
        first. Control tokens are left out, tags around thinking are not."""
        return self._opened + self.decode(token_ids)

    def completion(self, prompt: Sequence[int], token_ids: Sequence[int]) -> str:
        """The text that was sampled after `prompt`, with the thinking tag that the prompt ends in, if any."""
        text = self.decode(token_ids)
        if not self._opened:
            return text
        end = str(self.tokenizer.decode(list(prompt[-PROMPT_END:])))
        return self._opened + text if end.rstrip().endswith(self._opened.rstrip()) else text

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of the tokens without special tokens and the end of turn, and with tags around thinking."""
        kept = [i for i in token_ids if i in self._special_thinking or i not in self._left_out]
        return str(self.tokenizer.decode(kept, skip_special_tokens=False))

    def encode(self, prompts: Iterable[Prompt], limit: int) -> EncodedPrompts:
        """Tokens of each prompt. Prompts longer than `limit` tokens are listed apart and never truncated."""
        encoded: dict[str, list[int]] = {}
        unencodable: dict[str, str] = {}
        for prompt in prompts:
            try:
                encoded[prompt.prompt_id] = self.prompt(prompt.problem)
            except ControlTokenError as error:
                unencodable[prompt.prompt_id] = str(error)
        too_long = {prompt_id: len(tokens) for prompt_id, tokens in encoded.items() if len(tokens) > limit}
        within = {i: tokens for i, tokens in encoded.items() if i not in too_long}
        return EncodedPrompts(within, too_long, unencodable)

    @property
    def turn(self) -> AssistantTurn:
        """How the template writes the assistant's turn."""
        return self._read[0]

    @property
    def control(self) -> ControlTokens:
        """The control tokens of tokenizer and template."""
        return self._read[1]

    @property
    def end_token(self) -> int:
        """Id of the token that ends a response."""
        return self.control.ids[self.turn.end]

    def rendered(self, problem: str, response: str) -> str:
        """The conversation as the template writes it, as text."""
        turns = [{"role": "user", "content": problem}, {"role": "assistant", "content": response}]
        return render(self.tokenizer, turns, prompt=False)

    @cached_property
    def _read(self) -> tuple[AssistantTurn, ControlTokens]:
        return read_template(self.tokenizer)

    @cached_property
    def _opened(self) -> str:
        return "" if self.tokenizer.chat_template is None else self.turn.opened

    @cached_property
    def _left_out(self) -> frozenset[int]:
        added = self.tokenizer.added_tokens_decoder.items()
        special = frozenset(self.tokenizer.all_special_ids) | {i for i, token in added if token.special}
        # A template may end its turns with a token that the tokenizer does not call special.
        return special if self.tokenizer.chat_template is None else special | {self.end_token}

    @cached_property
    def _special_thinking(self) -> frozenset[int]:
        added = self.tokenizer.added_tokens_decoder.items()
        return frozenset(i for i, token in added if token.special and token.content in THINKING_TOKENS)

    def _rendered_prompt(self, problem: str) -> str:
        return render(self.tokenizer, [{"role": "user", "content": problem}], prompt=True)

    def _plain(self, text: str) -> list[int]:
        # The template writes the token that begins a text, where there is one.
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def _as_rendered(self, response: str) -> str | None:
        """What the template writes from the generation prompt to the end of a response.

        None if it is not the response itself, because the template strips the thinking, or because its turn
        does not begin as its generation prompt does.
        """
        turn = self.turn
        whole = from_problem(self.rendered(PROBLEM, response)) if turn.written else ""
        if not (whole.startswith(turn.context) and whole.endswith(turn.after)):
            return None
        body = whole[len(turn.context) : len(whole) - len(turn.after)]
        expected = turn.opening_of(response) + response
        if not leading_tag(response):
            expected = turn.opened + expected
        return body if without_white_space(turn.opened + body) == without_white_space(expected) else None

    def _assembled(self, response: str) -> str:
        """The response as the turn of a template that does not write it itself."""
        opened, tag = self.turn.opened, leading_tag(response)
        if not (opened and tag):
            return self.turn.opening_of(response) + response
        thought, _, answer = response.removeprefix(tag).lstrip().partition(closing_tag(tag))
        return f"{thought}{closing_tag(opened)}{answer}"

    def _continue(self, text: str, *, hidden: bool) -> list[int]:
        """Tokens of `text` after the generation prompt, to the end-of-turn token."""
        encode = self.control.encode if hidden else self._plain
        context, end = self.turn.context, self.turn.end
        before, together = self._plain(context), encode(context + text)
        if together[: len(before)] == before:
            tokens = together[len(before) :]
        else:
            # A token spans both. Rollouts begin after the generation prompt's own tokens, and so does this.
            alone = encode(text), encode(end + text)[1:]
            whole = self.tokenizer.decode(together)
            tokens = next((c for c in alone if self.tokenizer.decode([*before, *c]) == whole), alone[0])
        assert tokens[-1] == self.end_token, f"{end!r} is one token"
        return tokens
