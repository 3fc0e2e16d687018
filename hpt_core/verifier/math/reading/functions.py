"""The grammar of functions: named ones, fractions, roots, sums, products and integrals."""

from __future__ import annotations

from fractions import Fraction

from hpt_core.verifier.math import vocabulary
from hpt_core.verifier.math.reading.brackets import Brackets
from hpt_core.verifier.math.reading.tokens import Token, UnreadError
from hpt_core.verifier.math.tree import Apply, Node, Number, Relation, Symbol

_OF_SEVERAL = frozenset(("max", "min", "gcd", "lcm"))


class Functions(Brackets):
    """Reads functions and their arguments."""

    def _function(self, name: str) -> Node:
        base: tuple[Node, ...] = ()
        exponent: Node | None = None
        while self.token.kind == "symbol" and self.token.text in "^_":
            if self.take().text == "_":
                base = (self.argument(whole_number=True),)
            else:
                exponent = self._exponent_of_function()
        if base and name != "log":
            raise UnreadError(f"{name} with an index")
        if self.token.text == "(" and self.token.kind == "symbol":
            operands = self._arguments()
        elif name in _OF_SEVERAL and self.skip(r"\{"):
            operands = self._members()
            self.expect(r"\}")
        else:
            operands = (self._implicit_argument(),)
            if name in ("Re", "Im") and not isinstance(operands[0], Symbol):
                raise UnreadError(f"{name} without parentheses")
        if name in _OF_SEVERAL and len(operands) < 2:
            raise UnreadError(f"{name} of one value")
        if exponent == Number(Fraction(-1)):
            return Apply(f"arc{name}", operands)
        node = Apply(name, (*operands, *base))
        return Apply("^", (node, exponent)) if exponent is not None else node

    def _exponent_of_function(self) -> Node:
        if self.skip("-"):
            exponent = self.argument(whole_number=True)
            return Number(-exponent.value) if isinstance(exponent, Number) else Apply("neg", (exponent,))
        return self.argument(whole_number=True)

    def _implicit_argument(self) -> Node:
        """The argument of a function without parentheses: the operands up to the next function."""
        if self.token.kind == "symbol" and self.token.text == "-":
            self.take()
            return Apply("neg", (self._implicit_argument(),))
        if self.token.text == "{":
            return self.operand()
        if not self.starts_operand() and self.token.text != "|":
            raise UnreadError("a function without its argument")
        factors = [self.degrees(self.operand())]
        while (
            self.starts_operand()
            and self.token.text[1:] not in vocabulary.FUNCTIONS
            and not (
                self.token.kind == "number" or self.token.text in ("(", "[", r"\sum", r"\int", r"\begin")
            )
        ):
            factors.append(self.degrees(self.operand()))
        return factors[0] if len(factors) == 1 else Apply("*", tuple(factors))

    def _fraction(self) -> Node:
        start = self.at
        if self._is_differential(self.at):
            for _ in range(2):
                self.argument()
            return Symbol(
                "derivative "
                + "".join(token.text for token in self.tokens[start : self.at] if token.text not in "{}")
            )
        above = self.argument()
        return Apply("/", (above, self.argument()))

    def _is_differential(self, at: int) -> bool:
        """Whether a fraction at `at` is dy/dx, \\frac{\\partial f}{\\partial x} or \\frac{d^2 y}{d x^2}."""
        if self.tokens[at : at + 1] != [Token("symbol", "{", self.token.spaced, self.token.upright)]:
            return False
        self.at, back = at + 1, self.at
        end = self.until("}")
        heads = [t.text for t in (*self.tokens[at + 1 : at + 2], *self.tokens[end + 2 : end + 3])]
        self.at = back
        return len(heads) == 2 and heads[0] == heads[1] and heads[0] in ("d", r"\partial")

    def _root(self) -> Node:
        degree: Node | None = None
        if self.token.text == "[" and self.token.kind == "symbol":
            self.take()
            degree = self.items()
            self.expect("]")
        radicand = self.argument(whole_number=True)
        if degree is None or degree == Number(Fraction(2)):
            return Apply("sqrt", (radicand,))
        return Apply("root", (radicand, degree))

    def _series(self, name: str) -> Node:
        """\\sum_{k=1}^{n} term as (k, 1, n, term)."""
        lower: Node | None = None
        upper: Node | None = None
        while self.token.kind == "symbol" and self.token.text in "^_":
            if self.take().text == "_":
                lower = self.argument(whole_number=True)
            else:
                upper = self.argument(whole_number=True)
        body = self.product()
        match lower:
            case Relation(("=",), (Symbol() as index, first)) if upper is not None:
                return Apply(name, (index, first, upper, body))
        raise UnreadError(f"a {name} without its bounds")

    def _integral(self) -> Node:
        """\\int_a^b f dx as (x, a, b, f). Indefinite integrals are not compared."""
        bounds: dict[str, Node] = {}
        while self.token.kind == "symbol" and self.token.text in "^_":
            sign = self.take().text
            bounds[sign] = self._bound()
        end = self.at
        while end < len(self.tokens) and not (
            self.tokens[end].text == "d"
            and end + 1 < len(self.tokens)
            and self.tokens[end + 1].kind == "letter"
        ):
            end += 1
        if end == len(self.tokens) or len(bounds) != 2:
            raise UnreadError("an integral without its bounds or differential")
        body = self.part(end) if end > self.at else Number(Fraction(1))
        self.take()
        return Apply("integral", (Symbol(self.take().text), bounds["_"], bounds["^"], body))

    def _bound(self) -> Node:
        if self.skip("-"):
            return Apply("neg", (self.argument(whole_number=True),))
        return self.argument(whole_number=True)
