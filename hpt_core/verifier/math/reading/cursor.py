"""The position of the parser in the tokens of an answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from hpt_core.verifier.math.reading.tokens import END, Token, UnreadError
from hpt_core.verifier.math.tree import Node

MAX_DEPTH = 40
"""Nested groups, beyond which a text is no answer; Python's stack has room for several times as many."""


class Cursor:
    """Reads tokens from left to right."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.at] if self.at < len(self.tokens) else END

    def ahead(self, distance: int) -> Token:
        """The token `distance` places after the next one."""
        return self.tokens[self.at + distance] if self.at + distance < len(self.tokens) else END

    def take(self) -> Token:
        """The next token, and go on."""
        token = self.token
        if token is END:
            raise UnreadError("the answer ends too early")
        self.at += 1
        return token

    def skip(self, *texts: str) -> bool:
        """Go past the next token if it is one of `texts`; whether it was."""
        if self.token.text in texts and self.token.kind != "word":
            self.at += 1
            return True
        return False

    def expect(self, *texts: str) -> Token:
        """Go past the next token, which must be one of `texts`."""
        token = self.take()
        if token.text not in texts:
            raise UnreadError(f"{token.text!r} in place of {texts[0]!r}")
        return token

    @contextmanager
    def nested(self) -> Iterator[None]:
        """One level deeper, up to MAX_DEPTH."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadError("nested too deeply")
        yield
        self.depth -= 1

    def until(self, *closing: str) -> int:
        """The index of the first of `closing` that is not within brackets; the end if there is none."""
        depth = 0
        for index in range(self.at, len(self.tokens)):
            token = self.tokens[index]
            if depth == 0 and token.kind != "word" and token.text in closing:
                return index
            if token.text in _OPENING:
                depth += 1
            elif token.text in _CLOSING:
                if depth == 0:
                    return index if not closing else len(self.tokens)
                depth -= 1
        return len(self.tokens)

    @abstractmethod
    def operand(self) -> Node:
        """An operand with everything that is attached to its right."""

    @abstractmethod
    def argument(self, whole_number: bool = False) -> Node:
        """The argument of a command: a group, or one token."""

    @abstractmethod
    def starts_operand(self) -> bool:
        """Whether the next token can begin an operand."""

    @abstractmethod
    def degrees(self, node: Node) -> Node:
        """`node` in degrees if a degree sign follows."""

    @abstractmethod
    def product(self) -> Node:
        """A product of operands."""

    @abstractmethod
    def sum(self) -> Node:
        """A sum of products."""

    @abstractmethod
    def items(self) -> Node:
        """A list of items, up to a closing bracket or the end."""

    @abstractmethod
    def answer(self) -> Node:
        """All tokens as one answer."""

    def part(self, end: int) -> Node:
        """The tokens up to `end` as an answer of their own, and go on after them."""
        reader = type(self)(self.tokens[self.at : end])
        reader.depth = self.depth + 1
        if reader.depth > MAX_DEPTH:
            raise UnreadError("nested too deeply")
        node = reader.answer()
        self.at = end
        return node


_OPENING = frozenset(("(", "[", "{", r"\{", r"\langle", r"\lfloor", r"\lceil", r"\begin"))
_CLOSING = frozenset((")", "]", "}", r"\}", r"\rangle", r"\rfloor", r"\rceil", r"\end"))
