"""Mathematical answers as tokens, each with its place: in the formula, an exponent, an index or a text.

This is no parser of mathematics, and nothing that the verifier uses, so that a fault of the verifier's parser
cannot hide itself: the check changes characters whose part in the answer is certain from their place alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Role = Literal["formula", "exponent", "index", "text"]
Change = Literal["digit", "exponent", "index", "sign", "letter", "unit", "element"]

_TOKEN = re.compile(
    r"""(?P<layout> \\(?:begin|end)\s*\{[^{}]*\}(?:\{[lcr|\s]*\})?
                  | \\(?:hspace|vspace|phantom|color|tag|label)\*?\s*\{[^{}]*\}
                  | \\(?:left|right|displaystyle|quad|qquad)(?![A-Za-z]) | \\[,!;:\ ()] | [\s~$] )
      | (?P<text> \\(?:text|textbf|textit|textrm|textnormal|mathrm|mbox|operatorname)\s*\{[^{}]*\})
      | (?P<formula> \\(?:[A-Za-z]+|.) | \d+(?:\.\d+)? | \.\d+ | . )""",
    re.VERBOSE | re.DOTALL,
)
_ORDER = re.compile(r"[<>≤≥]|\\(?:leq?|geq?|leqslant|geqslant|lt|gt)(?![A-Za-z])")
RELATIONS = frozenset(
    (
        *"=<>≤≥≠∈",
        r"\le",
        r"\leq",
        r"\leqslant",
        r"\ge",
        r"\geq",
        r"\geqslant",
        r"\lt",
        r"\gt",
        r"\ne",
        r"\neq",
        r"\in",
        r"\equiv",
    )
)
SEPARATORS = RELATIONS | {",", ";", "&", r"\\", r"\cup", r"\cap"}
OPENING = frozenset(("(", "[", "{", r"\{", r"\lbrace"))
CLOSING = frozenset((")", "]", "}", r"\}", r"\rbrace"))
MINUS = frozenset(("-", "\N{MINUS SIGN}"))
SIGNS = MINUS | {"+"}
TRIGONOMETRIC = frozenset(
    (
        r"\sin",
        r"\cos",
        r"\tan",
        r"\cot",
        r"\sec",
        r"\csc",
        r"\arcsin",
        r"\arccos",
        r"\arctan",
        r"\sinh",
        r"\cosh",
        r"\tanh",
    )
)
LOGARITHMS = frozenset((r"\log", r"\ln", r"\lg"))
_BESIDE_A_NUMBER = frozenset(("^", r"\circ", "°", r"\%", "%", r"\$", "€", "£"))

_UNSURE = re.compile(
    r"\\(?:binom|dbinom|tbinom|choose|lfloor|rfloor|lceil|rceil|bmod|mod|gcd|lcm|max|min|sum|prod|int|oint|lim"
    r"|limits|lvert|rvert|vert|mid|omega|zeta|ldots|cdots|dots|forall|exists|partial|nabla)(?![A-Za-z])"
    r"|cases|\||(?<!\\)!|\(-1\)\s*\^|(?<![A-Za-z\\])i\s*\^|e\s*\^\s*\{[^{}]*\\pi"
    r"|(?:[-+]\s*|(?<![A-Za-z\\]))[CcK](?:_\{?\d\}?)?(?![A-Za-z])"
)


class Mutant(NamedTuple):
    """A wrong answer."""

    change: Change
    answer: str


@dataclass(frozen=True)
class Token:
    """A piece of an answer: a number, a letter, a command, a text, or another character."""

    text: str
    start: int
    role: Role

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def is_number(self) -> bool:
        return self.text.lstrip(".")[:1].isdecimal()

    @property
    def is_zero(self) -> bool:
        return self.is_number and not self.text.strip("0.")

    @property
    def is_letter(self) -> bool:
        return len(self.text) == 1 and self.text.isascii() and self.text.isalpha()


def tokens(latex: str) -> list[Token]:
    """The tokens of an answer, without those that only place others."""
    found: list[Token] = []
    groups: list[tuple[str, Role]] = [("", "formula")]
    """The closing bracket and the role of each open group."""
    pending: Role | None = None
    for match in _TOKEN.finditer(latex):
        text, part = match.group(), match.lastgroup
        if part == "layout":
            continue
        role: Role = "text" if part == "text" else pending or groups[-1][1]
        if text == "{":
            groups.append(("}", role))
        elif text == "[" and found and found[-1].text == r"\sqrt":
            groups.append(("]", "index"))
        elif text == groups[-1][0]:
            groups.pop()
        found.append(Token(text, match.start(), role))
        pending = "exponent" if text == "^" else "index" if text == "_" else None
    return found


def items(found: Sequence[Token]) -> list[list[Token]]:
    """The parts of an answer between commas, relations, cells of a matrix and texts."""
    parts: list[list[Token]] = [[]]
    for token in found:
        if token.role == "text" or (token.role == "formula" and token.text in SEPARATORS):
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def content(item: Sequence[Token]) -> list[Token]:
    """The tokens of an item without brackets."""
    return [token for token in item if token.text not in OPENING | CLOSING]


def is_plain(item: Sequence[Token]) -> bool:
    """Whether an item is one number, with or without sign, percent, degrees or currency."""
    inner = [token for token in content(item) if token.text not in _BESIDE_A_NUMBER]
    signed = len(inner) == 2 and inner[0].text in SIGNS
    return bool(inner) and (len(inner) == 1 or signed) and inner[-1].is_number


def is_unsure(answer: str) -> bool:
    """Whether the answer has what may make two texts of one meaning, so that no rule is sure of a change.

    |x|, factorials, binomials, rounding, gcd, extrema, sums, integrals, limits, cases, an omission
    (1, 2, ...), powers of -1, of i, of a root of unity and of e with pi, an arbitrary constant (+ C), and
    inequalities with powers: x^2 + 1 and x^2 + 2 are above 0 for the same x.
    """
    return bool(_UNSURE.search(answer) or (_ORDER.search(answer) and "^" in answer))


def may_cancel(item: Sequence[Token], found: Sequence[Token]) -> bool:
    """Whether a zero or a one may leave a change in the item without effect, as in 0/5, 1^5 and log 1.

    In an equation with 0, such as 2x = 0, that holds for all but sums.
    """
    for i, token in enumerate(item):
        before, after = [t.text for t in item[max(0, i - 2) : i]], [t.text for t in item[i + 1 : i + 2]]
        if token.is_zero and after != ["."]:  # 0.\overline{3} has its point as a token of its own.
            return True
        if token.text == "1" and (after == ["^"] or before[:1] == [r"\sqrt"]):
            return True
        if token.text == "1" and any(t.text in LOGARITHMS for t in item):
            return True
    compared_with_zero = any(token.text in RELATIONS for token in found) and any(
        is_plain(other) and any(token.is_zero for token in other) for other in items(found)
    )
    return compared_with_zero and not _is_sum(item)


def _is_sum(item: Sequence[Token]) -> bool:
    depth = 0
    for i, token in enumerate(item):
        depth += (token.text in OPENING) - (token.text in CLOSING)
        if i and depth == 0 and token.role == "formula" and token.text in SIGNS:
            return True
    return False


def replaced(text: str, start: int, end: int, new: str) -> str:
    """`text` with the characters from `start` to `end` replaced."""
    return text[:start] + new + text[end:]
