"""Tokens that structure a conversation, and text that spells one of them without being one.

A tokenizer reads `<|end|>` as its end-of-turn token wherever it stands. Within a problem or a response it is
text, which must neither end a turn nor begin one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from hpt_core.errors import InputError
from hpt_core.thinking import TAGS

ALIAS, HIDDEN = "\U0010fffe", "\U0010ffff"
"""Noncharacters of Unicode, which no text contains. With a private character after it, the first is a control
token of the template, the second the spelling of a control token in a problem or a response."""
PRIVATE = 0xF0000
"""The first of 65,534 characters for private use."""
_MARKER = re.compile(r"[<\[{◁【«]\S*[>\]}▷】»]")


class ControlTokenError(InputError):
    """A text spells a control token, and this tokenizer cannot encode the spelling as text."""


class ControlTokens:
    """The control tokens of a tokenizer and its template.

    These are the special tokens, and the added tokens that look like <marks> and that the template puts
    between the contents of turns. Tags around thinking are no control tokens: a response contains them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, structure: str) -> None:
        """`structure` is what the template puts between the contents of turns."""
        self._tokenizer = tokenizer
        self.ids = _control_ids(tokenizer, structure)
        """Token -> its id."""
        self._numbers = frozenset(self.ids.values())
        alternatives = "|".join(map(re.escape, sorted(self.ids, key=len, reverse=True)))
        self.pattern = re.compile(alternatives or "(?!)")
        codes = {token: chr(PRIVATE + number) for number, token in enumerate(self.ids)}
        self._aliases = {token: ALIAS + code for token, code in codes.items()}
        self._hidden = {token: HIDDEN + code for token, code in codes.items()}

    def spelled_in(self, text: str) -> str | None:
        """The first control token that the tokenizer would read in a text; None if there is none."""
        encoded: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        found = next((token for token in encoded if token in self._numbers), None)
        return None if found is None else next(token for token, i in self.ids.items() if i == found)

    def hide(self, text: str) -> str:
        """The text with a placeholder for each control token that it spells, for `encode`."""
        if ALIAS in text or HIDDEN in text:
            raise ControlTokenError("it spells a control token beside a Unicode noncharacter")
        return self.pattern.sub(lambda match: self._hidden[match.group()], text)

    def reveal(self, text: str) -> str:
        """The inverse of `hide`."""
        spellings = {hidden: token for token, hidden in self._hidden.items()}
        return re.sub(f"{HIDDEN}.", lambda match: spellings[match.group()], text, flags=re.DOTALL)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text in which control tokens are tokens, and hidden ones are text.

        Raises ControlTokenError where the tokenizer cannot do that.
        """
        aliased, count = self.pattern.subn(lambda match: self._aliases[match.group()], text)
        revealed = self.reveal(aliased)
        try:
            encoded: list[int] = self._literal.encode(revealed, add_special_tokens=False).ids
        except Exception as error:  # tokenizers raises bare Exceptions, such as for a text that has no token
            raise ControlTokenError(self._refusal(text)) from error
        if sum(token in self._numbers for token in encoded) != count:
            raise ControlTokenError(self._refusal(text))
        return encoded

    def _refusal(self, text: str) -> str:
        spelled = {token for token, hidden in self._hidden.items() if hidden in text}
        tokens = ", ".join(sorted(spelled)) or "a control token"
        return f"it spells {tokens}, which this tokenizer cannot encode as text"

    @cached_property
    def _literal(self) -> Tokenizer:
        """The tokenizer with its control tokens under other names, so that their spelling is text."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ControlTokenError("the tokenizer has no fast version")
        literal = Tokenizer.from_str(json.dumps(_renamed(json.loads(backend.to_str()), self._aliases)))
        for token, alias in self._aliases.items():
            assert literal.token_to_id(alias) == self.ids[token], "a renamed token keeps its id"
        return literal


def _control_ids(tokenizer: PreTrainedTokenizerBase, structure: str) -> dict[str, int]:
    control = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
    for number, token in tokenizer.added_tokens_decoder.items():
        mark = _MARKER.fullmatch(token.content) and token.content in structure
        if token.special or mark:
            control[token.content] = number
    thinking = {*TAGS.keys(), *TAGS.values()}
    return {token: number for token, number in control.items() if token not in thinking}


def _renamed(state: dict[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """The saved form of a tokenizer with the tokens of `aliases` renamed and their ids kept."""
    for token in state["added_tokens"]:
        token["content"] = aliases.get(token["content"], token["content"])
    model = state["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {aliases.get(token, token): number for token, number in vocabulary.items()}
    else:  # Unigram
        model["vocab"] = [[aliases.get(token, token), score] for token, score in vocabulary]
    if isinstance(model.get("unk_token"), str):
        model["unk_token"] = aliases.get(model["unk_token"], model["unk_token"])
    if "merges" in model:
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        model["merges"] = [pair for pair in pairs if aliases.keys().isdisjoint((*pair, "".join(pair)))]
    return state | {"post_processor": None, "truncation": None, "padding": None}
