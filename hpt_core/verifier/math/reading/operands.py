"""The grammar of operands with their indices, exponents and other postfixes."""

from __future__ import annotations

from fractions import Fraction

from hpt_core.verifier.math import vocabulary
from hpt_core.verifier.math.reading.brackets import CLOSING_OF
from hpt_core.verifier.math.reading.environments import Environments
from hpt_core.verifier.math.reading.numbers import based, number, repeating
from hpt_core.verifier.math.reading.tokens import Token, UnreadError
from hpt_core.verifier.math.tree import (
    Apply,
    Bracketed,
    Conditional,
    Items,
    Node,
    Number,
    Relation,
    Symbol,
    Words,
)
from hpt_core.verifier.math.vocabulary import words

_SYMBOLS = words(
    r"\alpha \beta \gamma \delta \epsilon \zeta \eta \theta \iota \kappa \lambda \mu \nu \xi \pi \rho "
    r"\sigma \tau \upsilon \phi \chi \psi \omega \Gamma \Delta \Theta \Lambda \Xi \Pi \Sigma \Phi \Psi "
    r"\Omega \varrho \varsigma \varkappa \hbar \ell \infty \emptyset \ldots \partial \nabla \imath "
    r"\jmath \aleph \odot \oplus \star \dagger \top \bot \square \checkmark \complement "
)
_OF_SETS = words(r"set-builder \cup \cap \setminus")
_CONSTRUCTS = words(r"\frac \sqrt \radical \binom \sum \prod \int \begin \{ \|")
_FIGURES = frozenset((r"\angle", r"\triangle", r"\odot", r"\overarc", r"\measuredangle"))


class Operands(Environments):
    """Reads one operand."""

    def starts_operand(self) -> bool:
        """Whether the next token can begin an operand."""
        token = self.token
        if token.kind in ("number", "repeating", "based", "letter"):
            return True
        if token.kind == "command":
            text = token.text
            return (
                text in _SYMBOLS
                or text in _FIGURES
                or text in CLOSING_OF
                or text[1:] in vocabulary.FUNCTIONS
                or text in _CONSTRUCTS
            )
        return token.kind == "symbol" and token.text in "([{"

    def operand(self) -> Node:
        """An operand with everything that is attached to its right."""
        with self.nested():
            node = self._atom()
            while True:
                attached = self._postfix(node)
                if attached is None:
                    return node
                node = attached

    def operand_without_primes(self) -> Node:
        """A number, past the signs of minutes or seconds that follow it."""
        node = self._atom()
        while self.skip("'"):
            pass
        return node

    def _postfix(self, node: Node) -> Node | None:
        token = self.token
        if token.kind == "word":
            return None
        match token.text:
            case "^" if not self._degree_sign():
                self.take()
                return self._power(node)
            case "_":
                self.take()
                return self._indexed(node, self.argument())
            case "!" if not (self.ahead(1).text == "=" and not isinstance(node, Number)):
                self.take()
                return Apply("!!" if self.skip("!") else "!", (node,))
            case "'":
                self.take()
                return _primed(node)
            case "(" if not token.spaced and (_is_function(node) or self._is_at_a_number(node)):
                return Apply("apply", (node, *self._arguments()))
        return None

    def _is_at_a_number(self, node: Node) -> bool:
        """Whether `node` is a letter before a number in parentheses: I(0) is no product."""
        return isinstance(node, Symbol) and self.ahead(1).kind == "number" and self.ahead(2).text == ")"

    def _degree_sign(self) -> bool:
        """Whether ^\\circ or ^{\\circ} comes next; `quantities` reads it."""
        braced = self.ahead(1).text == "{"
        return self.ahead(1 + braced).text == r"\circ" and (not braced or self.ahead(3).text == "}")

    def _power(self, node: Node) -> Node:
        if self.token.text in ("-", "+") and self.token.kind == "symbol":
            sign = self.take().text
            exponent = self.operand()
            return Apply("^", (node, Apply("neg", (exponent,)) if sign == "-" else exponent))
        exponent = self.argument(whole_number=True)
        if isinstance(exponent, Symbol) and exponent.name == "'":
            return _primed(node)
        return Apply("^", (node, exponent))

    def _indexed(self, node: Node, index: Node) -> Node:
        if isinstance(node, Number):
            if isinstance(index, Number) and index.value.denominator == 1 and node.value.denominator == 1:
                return based(str(node.value.numerator), int(index.value))
            raise UnreadError("a number with an index")
        return Apply("_", (node, index))

    def argument(self, whole_number: bool = False) -> Node:
        """The argument of a command: a group, or one token; of 12 only the 1, as TeX reads it."""
        token = self.token
        if token.kind == "symbol" and token.text in "{(":
            return self._atom()
        if token.kind == "number" and not whole_number and len(token.text) > 1 and token.text.isdigit():
            # Both parts stay tokens of their own, so that reading again from before them finds the same.
            first, rest = (
                token._replace(text=token.text[0]),
                token._replace(text=token.text[1:], spaced=False),
            )
            self.tokens = [*self.tokens[: self.at], first, rest, *self.tokens[self.at + 1 :]]
        if token.text == "'":
            while self.skip("'"):
                pass
            return Symbol("'")
        if token.kind == "symbol" and token.text in "*+-":
            return Symbol(self.take().text)
        return self._atom()

    def _atom(self) -> Node:
        token = self.take()
        match token.kind:
            case "number":
                return number(token.text)
            case "repeating":
                return repeating(token.text)
            case "based":
                digits, _, base = token.text.partition("_")
                return based(digits, int(base.strip("{} ")))
            case "letter":
                return Symbol(token.text)
            case "word":
                self.at -= 1
                return self.text()
            case "command":
                return self._command(token)
            case "symbol" if token.text in "([{":
                return self._bracketed(token)
            case "symbol" if token.text == "|":
                absolute = self._absolute("|")
                refuse_other_than_values(*absolute.operands)
                return absolute
        raise UnreadError(f"{token.text!r} in place of an operand")

    def text(self) -> Node:
        """Words up to the next token of another kind: a numeral, or a text."""
        found: list[str] = []
        while self.token.kind == "word" or (
            self.token.kind == "symbol" and self.token.text in "'-" and found
        ):
            found.append(self.take().text)
        text = " ".join(found).casefold().removeprefix("the ").removeprefix("an ")
        numeral = vocabulary.numeral(text)
        if numeral is not None:
            return Number(Fraction(numeral))
        if text in vocabulary.NO_SOLUTION:
            return Symbol(r"\emptyset")
        return Symbol(r"\mathbb{R}") if text in vocabulary.ALL_REALS else Words(text)

    def _command(self, token: Token) -> Node:
        text = token.text
        if text[1:] in vocabulary.FUNCTIONS:
            return self._function(text[1:])
        if text in _FIGURES and self.token.kind in ("letter", "word"):
            name = ""
            while self.token.kind in ("letter", "word") and (not name or not self.token.spaced):
                name += self.take().text
            return Symbol(f"{text} {name}")
        if text in _SYMBOLS:
            return Symbol(text)
        match text:
            case r"\frac":
                return self._fraction()
            case r"\sqrt" | r"\radical":
                return self._root()
            case r"\binom":
                return Apply("binom", (self.argument(), self.argument()))
            case r"\sum" | r"\prod":
                return self._series(text[1:])
            case r"\int":
                return self._integral()
            case r"\begin":
                return self._environment()
            case r"\{":
                return self._set()
            case r"\|" | r"\lVert":
                return Apply("norm", (self._absolute(r"\|", r"\rVert"),))
            case r"\langle" | r"\lfloor" | r"\lceil":
                return self._angled(text)
        raise UnreadError(f"the command {text}")


def refuse_other_than_values(*nodes: Node) -> None:
    """Raise UnreadError if one of `nodes` is a text, a list, a set or a relation: it has no arithmetic."""
    for node in nodes:
        if isinstance(node, Apply) and node.operation in _OF_SETS:
            raise UnreadError("arithmetic with a set")
        if isinstance(node, Words | Items | Bracketed | Relation | Conditional):
            raise UnreadError("arithmetic with what is no value")
        if isinstance(node, Symbol) and node.name.startswith(r"\mathbb"):
            raise UnreadError("arithmetic with a set of numbers")


def _is_function(node: Node) -> bool:
    """Whether a parenthesis directly after `node` holds arguments and no factor."""
    match node:
        case Symbol(name):
            return name in vocabulary.FUNCTION_LETTERS or name.rstrip("'") in vocabulary.FUNCTION_LETTERS
        case Apply("_", (base, _)):
            return _is_function(base)
        case Apply("^", (base, Number(power))) if power < 0:
            return _is_function(base)
    return False


def _primed(node: Node) -> Node:
    if isinstance(node, Symbol):
        return Symbol(node.name + "'")
    return Apply("prime", (node,))
