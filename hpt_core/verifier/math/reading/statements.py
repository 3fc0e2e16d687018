"""The grammar of whole answers: lists, relations, conditions, and the prose around them."""

from __future__ import annotations

from hpt_core.verifier.math import vocabulary
from hpt_core.verifier.math.reading.arithmetic import Arithmetic
from hpt_core.verifier.math.reading.spelling import canonical
from hpt_core.verifier.math.reading.tokens import UnreadError, tokenize
from hpt_core.verifier.math.tree import MISSING, Conditional, Items, Node, Relation, Symbol, Words
from hpt_core.verifier.math.vocabulary import words

_RELATIONS = words(
    r"= < > := \le \ge \ne \approx \equiv \in \notin \subset \subseteq \supset \supseteq \parallel \perp "
    r"\sim \cong \to \Rightarrow \iff \mapsto \propto \mid \nmid | \ll \gg \nparallel \not"
)
_TWO_SIGNS = {("<", "="): r"\le", (">", "="): r"\ge", ("!", "="): r"\ne", (":", "="): "=", ("=", "="): "=",
              ("=", ">"): r"\Rightarrow", ("-", ">"): r"\to", ("<", ">"): r"\ne"}  # fmt: skip


class Statements(Arithmetic):
    """Reads a whole answer."""

    def answer(self) -> Node:
        """All tokens as one answer. Raises UnreadError if some cannot be read."""
        self._introduction()
        if not self.tokens[self.at :]:
            raise UnreadError("nothing to read")
        node = self.items()
        if self.at < len(self.tokens):
            raise UnreadError(f"{self.token.text!r} is left over")
        return node

    def _introduction(self) -> None:
        """Go past "The roots are" and "approximately"."""
        for index in range(self.at, len(self.tokens)):
            token = self.tokens[index]
            if token.kind != "word" and not (token.kind == "letter" and token.upright):
                break
            if token.text.casefold() in vocabulary.COPULA:
                self.at = index + 1
        while self.token.kind == "word" and self.token.text.casefold() in vocabulary.APPROXIMATELY:
            self.take()
        self.skip(r"\approx")

    def items(self) -> Node:
        """Items joined by commas, semicolons, "and" or "or"."""
        members = [self._item()]
        alternatives = False
        while True:
            joiner = self._joiner()
            if joiner is None:
                break
            alternatives = alternatives or joiner == "or"
            members.append(self._item())
        if len(members) == 1:
            return members[0]
        return _list(members, "or" if alternatives else ",")

    def _joiner(self) -> str | None:
        found: str | None = None
        while True:
            token = self.token
            folded = token.text.casefold()
            if token.kind == "symbol" and token.text in ",;" and found is None:
                found = ","
            elif (
                token.kind in ("word", "letter")
                and token.upright
                and folded in vocabulary.AND
                and found != "and"
            ):
                found = "and"
            elif (
                token.kind in ("word", "letter")
                and token.upright
                and folded in vocabulary.OR
                and found != "or"
            ):
                found = "or"
            elif token.text in (r"\lor", r"\land") and found is None:
                found = "or" if token.text == r"\lor" else "and"
            else:
                return found
            self.take()

    def _item(self) -> Node:
        with self.nested():
            node = self._relation()
            while self.token.kind == "word" and self.token.text.casefold() in vocabulary.CONDITION:
                self.take()
                node = Conditional(node, self._condition())
            return node

    def _condition(self) -> Node:
        end = min(self.until(","), self.until(";"))
        try:
            start = self.at
            return self.part(end)
        except UnreadError:
            self.at = end
            return Words(" ".join(token.text for token in self.tokens[start:end]).casefold())

    def _relation(self) -> Node:
        operator = self._operator() if self.token.text != "|" else None
        members: list[Node] = [MISSING] if operator else []
        operators = [operator] if operator else []
        members.append(self.expression())
        while operator := self._operator():
            operators.append(operator)
            members.append(self.expression())
        if not operators:
            return members[0]
        if operators == [r"\approx"] and members[0] == MISSING:
            return members[1]
        chain = tuple(operators)
        last = members[-1]
        if isinstance(last, Conditional):
            return Conditional(Relation(chain, (*members[:-1], last.value)), last.condition)
        return Relation(chain, tuple(members))

    def _operator(self) -> str | None:
        token = self.token
        if token.kind not in ("symbol", "command"):
            return None
        two = _TWO_SIGNS.get((token.text, self.ahead(1).text))
        if two and not self.ahead(1).spaced:
            self.at += 2
            return two
        if token.text == r"\not":
            self.take()
            negated = {"=": r"\ne", r"\in": r"\notin", r"\mid": r"\nmid", r"\parallel": r"\nparallel"}
            following = self.take().text
            if following not in negated:
                raise UnreadError(f"\\not before {following!r}")
            return negated[following]
        if token.text in _RELATIONS:
            self.take()
            return r"\mid" if token.text == "|" else token.text
        return None


def _list(members: list[Node], joined_by: str) -> Node:
    """The items without those that only say which numbers a letter stands for: k \\in \\mathbb{Z}."""
    domains = [m for m in members if _is_domain(m)]
    values = [m for m in members if not _is_domain(m)]
    if not domains or not values:
        return Items(tuple(members), joined_by)
    value = values[0] if len(values) == 1 else Items(tuple(values), joined_by)
    return Conditional(value, domains[0] if len(domains) == 1 else Items(tuple(domains)))


def _is_domain(node: Node) -> bool:
    return (
        isinstance(node, Relation)
        and node.operators == (r"\in",)
        and isinstance(node.members[1], Symbol)
        and node.members[1].name.startswith(r"\mathbb")
    )


def read(text: str, thousands: bool = False) -> Node:
    """The answer `text` as a tree. Raises UnreadError where it cannot be read whole."""
    return Statements(tokenize(canonical(text), thousands)).answer()
