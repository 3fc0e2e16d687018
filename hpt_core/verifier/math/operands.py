"""The grammar of operands: numbers, symbols, brackets, functions, roots, fractions, sums, matrices."""

from __future__ import annotations

import re
from abc import abstractmethod
from fractions import Fraction

from hpt_core.verifier.math import vocabulary
from hpt_core.verifier.math.cursor import Cursor
from hpt_core.verifier.math.tokens import Token, UnreadError
from hpt_core.verifier.math.tree import (
    Apply,
    Based,
    Bracketed,
    Conditional,
    Items,
    Matrix,
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
    r"\jmath \aleph \star \dagger \top \bot \square \checkmark \complement "
)
_CONSTRUCTS = words(r"\frac \sqrt \radical \binom \sum \prod \int \begin \{ \|")
_FIGURES = frozenset((r"\angle", r"\triangle", r"\odot", r"\overarc", r"\measuredangle"))
_CLOSING_OF = {r"\langle": r"\rangle", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}
_MAX_DIGITS = 3000
_MAX_EXPONENT = 9999
_MATRICES = words("matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array")


class Operands(Cursor):
    """Reads one operand with its indices, exponents and other postfixes."""

    @abstractmethod
    def items(self) -> Node:
        """A list of items, up to a closing bracket or the end."""

    @abstractmethod
    def product(self) -> Node:
        """A product of operands."""

    @abstractmethod
    def sum(self) -> Node:
        """A sum of products."""

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
                or text in _CLOSING_OF
                or text[1:] in vocabulary.FUNCTIONS
                or text
                in (
                    r"\frac",
                    r"\sqrt",
                    r"\radical",
                    r"\binom",
                    r"\sum",
                    r"\prod",
                    r"\int",
                    r"\begin",
                    r"\{",
                    r"\|",
                )
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
                return Apply("!", (node,))
            case "'":
                self.take()
                return _primed(node)
            case "(" if isinstance(node, Symbol | Apply) and not token.spaced and _is_function(node):
                return Apply("apply", (node, *self._arguments()))
        return None

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
                return _based(str(node.value.numerator), int(index.value))
            raise UnreadError("a number with an index")
        return Apply("_", (node, index))

    def argument(self, whole_number: bool = False) -> Node:
        """The argument of a command: a group, or one token; of 12 only the 1, as TeX reads it."""
        token = self.token
        if token.kind == "symbol" and token.text in "{(":
            return self._atom()
        if token.kind == "number" and not whole_number and len(token.text) > 1 and token.text.isdigit():
            self.tokens[self.at] = token._replace(text=token.text[1:], spaced=False)
            return Number(Fraction(int(token.text[0])))
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
                return _number(token.text)
            case "repeating":
                return _repeating(token.text)
            case "based":
                digits, _, base = token.text.partition("_")
                return _based(digits, int(base.strip("{} ")))
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
                return self._absolute("|")
        raise UnreadError(f"{token.text!r} in place of an operand")

    def text(self) -> Node:
        """Words up to the next token of another kind: a numeral, or a text."""
        found: list[str] = []
        while self.token.kind == "word" or (
            self.token.kind == "symbol" and self.token.text in "'-" and found
        ):
            found.append(self.take().text)
        text = " ".join(found).casefold()
        if text in vocabulary.NUMERALS:
            return Number(Fraction(vocabulary.NUMERALS[text]))
        return Symbol(r"\mathbb{R}") if text in vocabulary.ALL_REALS else Words(text)

    def _command(self, token: Token) -> Node:
        text = token.text
        if text[1:] in vocabulary.FUNCTIONS:
            return self._function(text[1:])
        if text in _FIGURES and self.token.kind == "letter":
            name = ""
            while self.token.kind == "letter" and (not name or not self.token.spaced):
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
                members = self._members()
                self.expect(_CLOSING_OF[text])
                if text == r"\langle":
                    return Bracketed("(", ")", members)
                return Apply(text[2:], members)
        raise UnreadError(f"the command {text}")

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

    def _absolute(self, *closing: str) -> Node:
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
        else:
            operands = (self._implicit_argument(),)
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

    @abstractmethod
    def degrees(self, node: Node) -> Node:
        """`node` in degrees if a degree sign follows."""

    def _fraction(self) -> Node:
        start = self.at
        if self._is_differential(self.at):
            for _ in range(2):
                self.argument()
            return Symbol("derivative " + "".join(token.text for token in self.tokens[start : self.at]))
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

    def _environment(self) -> Node:
        name = self._environment_name()
        if name == "array":
            self.expect("{")
            self.at = self.until("}") + 1
        rows: list[tuple[Node, ...]] = [()]
        while self.token.text != r"\end":
            if self.skip("\\\\"):
                rows.append(())
                continue
            end = min(self.until("&"), self.until("\\\\"), self.until(r"\end"))
            rows[-1] += (self.part(end),)
            self.skip("&")
        self.take()
        if self._environment_name() != name:
            raise UnreadError("an environment that ends as another")
        return _environment(name, [row for row in rows if row])

    def _environment_name(self) -> str:
        self.expect("{")
        name = ""
        while not self.skip("}"):
            name += self.take().text
        return name


def _environment(name: str, rows: list[tuple[Node, ...]]) -> Node:
    if name == "cases":
        cases: list[Node] = []
        for row in rows:
            if len(row) != 2:
                raise UnreadError("a case without its condition")
            condition = row[1].condition if isinstance(row[1], Conditional) else row[1]
            cases.append(Conditional(row[0], condition))
        return Items(tuple(cases))
    if name not in _MATRICES or not rows or len({len(row) for row in rows}) != 1:
        raise UnreadError(f"the environment {name}")
    matrix = Matrix(tuple(rows))
    return Apply("det", (matrix,)) if name == "vmatrix" else matrix


def _is_function(node: Node) -> bool:
    """Whether a parenthesis directly after `node` holds arguments and no factor."""
    match node:
        case Symbol(name):
            return name in vocabulary.FUNCTION_LETTERS or name.rstrip("'") in vocabulary.FUNCTION_LETTERS
        case Apply("_", (base, _)) | Apply("^", (base, Apply("neg", _))):
            return _is_function(base)
    return False


def _primed(node: Node) -> Node:
    if isinstance(node, Symbol):
        return Symbol(node.name + "'")
    return Apply("prime", (node,))


def _based(digits: str, base: int) -> Node:
    if not 2 <= base <= 36:
        raise UnreadError(f"the base {base}")
    try:
        value = int(digits, base)
    except ValueError as e:
        raise UnreadError(f"{digits} has digits that base {base} has not") from e
    return Number(Fraction(value)) if base == 10 else Based(digits.lstrip("0").upper() or "0", base)


def _number(text: str) -> Number:
    if len(text) > _MAX_DIGITS:
        raise UnreadError("a number of thousands of digits")
    mantissa, _, exponent = re.sub(r"\{,\}|\\[,!]|[,\s]", "", text).lower().partition("e")
    if exponent and abs(int(exponent[:9])) > _MAX_EXPONENT:
        raise UnreadError("an exponent of ten thousand or more")
    whole, point, decimals = mantissa.partition(".")
    value = Fraction(int((whole + decimals) or "0"), 10 ** len(decimals))
    digits = len((whole + decimals).lstrip("0")) if point and decimals else 0
    return Number(value * Fraction(10) ** int(exponent or 0), digits)


def _repeating(text: str) -> Number:
    """0.1\\overline{6} and 0.1(6) as 1/6."""
    whole, _, rest = text.partition(".")
    decimals = re.match(r"\d*", rest)
    period = re.search(r"(\d+)[})]?$", rest[decimals.end() :] if decimals else rest)
    if decimals is None or period is None:
        raise UnreadError("a repeating decimal without its period")
    shift = 10 ** len(decimals.group())
    fixed = Fraction(int((whole or "0") + decimals.group()), shift)
    return Number(fixed + Fraction(int(period[1]), shift * (10 ** len(period[1]) - 1)))
