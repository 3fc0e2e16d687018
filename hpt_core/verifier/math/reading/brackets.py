"""The grammar of brackets: groups, tuples, intervals, sets, absolute values, arguments."""

from __future__ import annotations

from hpt_core.verifier.math.reading.cursor import Cursor
from hpt_core.verifier.math.reading.tokens import Token, UnreadError
from hpt_core.verifier.math.tree import Apply, Bracketed, Items, Matrix, Node, Symbol

CLOSING_OF = {r"\langle": r"\rangle", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}


class Brackets(Cursor):
    """Reads what stands between brackets."""

    def _members(self) -> tuple[Node, ...]:
        node = self.items()
        return node.members if isinstance(node, Items) and node.joined_by != "{}" else (node,)

    def _bracketed(self, opening: Token) -> Node:
        with self.nested():
            node = self.items()
        if opening.text == "{":
            if self.token.text in (r"\over", r"\choose"):
                operation = "/" if self.take().text == r"\over" else "binom"
                node = Apply(operation, (node, self.items()))
            self.expect("}")
            return node
        closing = self.expect(")", "]").text
        if isinstance(node, Items) and node.joined_by == ",":
            return Bracketed(opening.text, closing, node.members)
        if opening.text + closing not in ("()", "[]"):
            raise UnreadError("brackets of two kinds around one value")
        return node

    def _set(self) -> Node:
        end = self.until(r"\}")
        if end == len(self.tokens) and self.token.text == r"\begin":
            return _system(self.operand())  # \left\{ \begin{array} ... \right.
        for bar in ("|", r"\mid", ":"):
            at = self.until(bar)
            if self.at < at < end and not (
                bar == "|" and self.tokens[at + 1 : end].count(self.tokens[at]) % 2
            ):
                element = self.part(at)
                self.take()
                condition = self.part(end)
                self.expect(r"\}")
                return Apply("set-builder", (element, condition))
        if self.skip(r"\}"):
            return Symbol(r"\emptyset")
        members = self._members()
        self.expect(r"\}")
        return Items(members, "{}")

    def _absolute(self, *closing: str) -> Apply:
        end = self.until(*closing)
        node = self.part(end)
        self.expect(*closing)
        return Apply("abs", (node,))

    def _arguments(self) -> tuple[Node, ...]:
        self.expect("(")
        with self.nested():
            members = self._members()
        self.expect(")")
        return members

    def _angled(self, opening: str) -> Node:
        """\\langle 1, 2 \\rangle, \\lfloor x \\rfloor and \\lceil x \\rceil."""
        members = self._members()
        self.expect(CLOSING_OF[opening])
        return Bracketed("(", ")", members) if opening == r"\langle" else Apply(opening[1:], members)


def _system(node: Node) -> Node:
    """A column of equations behind one brace, as a list."""
    if isinstance(node, Items):
        return node
    if not isinstance(node, Matrix) or any(len(row) != 1 for row in node.rows):
        raise UnreadError("a brace that is not closed")
    return Items(tuple(row[0] for row in node.rows))
