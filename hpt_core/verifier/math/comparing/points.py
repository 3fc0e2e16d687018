"""The variables of expressions, and the points at which expressions are evaluated."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from hpt_core.verifier.math.comparing.exact import exact
from hpt_core.verifier.math.comparing.indices import SERIES
from hpt_core.verifier.math.tree import Apply, Node, Symbol, walk

DIGITS = 110
CONSTANTS = {r"\pi": "pi", "e": "e", "i": "j", r"\infty": "inf"}
"""Symbols with a value of their own, by their names in mpmath."""
_OVER_INTEGERS = frozenset(("!", "!!", "binom", "mod", "gcd", "lcm", "_"))


def free_symbols(node: Node) -> frozenset[str]:
    """Names of the variables of `node`, without constants and bound indices."""
    names = {n.name for n in walk(node) if isinstance(n, Symbol)} - CONSTANTS.keys()
    bound = {n.operands[0] for n in walk(node) if isinstance(n, Apply) and n.operation in SERIES}
    return frozenset(names - {b.name for b in bound if isinstance(b, Symbol)})


def integer_symbols(node: Node) -> frozenset[str]:
    """Variables of `node` that stand where only an integer can: bounds, factorials, indices, powers of -1."""
    found: set[str] = set()
    for part in walk(node):
        if not isinstance(part, Apply):
            continue
        if part.operation in _OVER_INTEGERS:
            found |= set().union(*(free_symbols(o) for o in part.operands[part.operation == "_" :]))
        elif part.operation in ("sum", "prod"):
            found |= free_symbols(part.operands[1]) | free_symbols(part.operands[2])
        elif part.operation == "^":
            base = exact(part.operands[0])
            if base is not None and base < 0:
                found |= free_symbols(part.operands[1])
    return frozenset(found)


@dataclass
class Point:
    """One assignment of values to variables, at which expressions are evaluated."""

    number: int
    integers: frozenset[str]
    digits: int = DIGITS
    plain_degrees: bool = False
    """Whether a degree sign counts as a unit that can be left out (factor 1), and not as pi/180."""
    common_logarithm: bool = False
    """Whether \\log without a base is that to base ten, and not the natural one."""
    rough: bool = field(default=False, init=False)
    """Whether the last value came from a numerical limit, which has fifteen digits."""

    def variable(self, name: str, mp: Any) -> Any:
        draw = random.Random(f"{name}/{self.number}")
        if name in self.integers:
            return mp.mpf(draw.randint(2, 4 + 3 * self.number))
        value = mp.mpf(draw.randint(1, 10**24)) / 10**24 * 3 + mp.mpf("0.1")
        return -value if self.number % 2 and draw.random() < 0.7 else value
