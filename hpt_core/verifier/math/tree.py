"""The tree of a mathematical answer that was read whole.

Leaves are numbers, symbols and words. Operations on them are an `Apply` with its operands. Those of
arithmetic ("+", "*", "^", "sin", "sqrt", ...) have values, which `values` computes. One without a definition
there (f of f(x), an operation on sets) is an unknown function of its operands: equal operands give equal
results, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from hpt_core.verifier.math.units import Unit


@dataclass(frozen=True, slots=True)
class Number:
    """An integer or a decimal as written."""

    value: Fraction
    digits: int = 0
    """The number of significant digits of a decimal; 0 for an integer and for a repeating decimal."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable, a constant, or anything else that stands for itself: x, \\pi, \\vec{a}, \\angle ABC."""

    name: str


@dataclass(frozen=True, slots=True)
class Words:
    """A text answer, case-folded: "no solution"."""

    text: str


@dataclass(frozen=True, slots=True)
class Apply:
    """An operation and its operands."""

    operation: str
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value with its unit."""

    value: Node
    unit: Unit


@dataclass(frozen=True, slots=True)
class Based:
    """A number written in a base other than ten: 204_5."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Items:
    """Several values in any order: a set, or a list joined by commas, "and" or "or"."""

    members: tuple[Node, ...]
    joined_by: str = ","
    """"or" if the members are alternatives, "{}" for a set in braces, else ","."""


@dataclass(frozen=True, slots=True)
class Bracketed:
    """A tuple, a point or an interval."""

    opening: str
    closing: str
    members: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """A chain of relations: members[0] operators[0] members[1] ..."""

    operators: tuple[str, ...]
    members: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix or column vector, by rows."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Conditional:
    """A value that holds under a condition: "2 if x < 0", "k\\pi, k \\in \\mathbb{Z}"."""

    value: Node
    condition: Node


Node = (
    Number | Symbol | Words | Apply | Quantity | Based | Items | Bracketed | Relation | Matrix | Conditional
)

MISSING = Symbol("")
"""The missing left side of "> 3"."""


def children(node: Node) -> tuple[Node, ...]:
    """The operands, members or parts of `node`."""
    match node:
        case Apply(_, parts) | Items(parts) | Bracketed(_, _, parts) | Relation(_, parts):
            return parts
        case Matrix(rows):
            return tuple(entry for row in rows for entry in row)
        case Quantity(value, _):
            return (value,)
        case Conditional(value, condition):
            return value, condition
        case _:
            return ()


def replace_children(node: Node, parts: tuple[Node, ...]) -> Node:
    """`node` with other operands, members or parts."""
    match node:
        case Apply(operation, _):
            return Apply(operation, parts)
        case Items(_, joined_by):
            return Items(parts, joined_by)
        case Bracketed(opening, closing, _):
            return Bracketed(opening, closing, parts)
        case Relation(operators, _):
            return Relation(operators, parts)
        case Matrix(rows):
            rest = iter(parts)
            return Matrix(tuple(tuple(next(rest) for _ in row) for row in rows))
        case Quantity(_, unit):
            return Quantity(parts[0], unit)
        case Conditional():
            return Conditional(parts[0], parts[1])
        case _:
            return node


def walk(node: Node) -> Iterator[Node]:
    """`node` and all nodes below it."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(children(node))


def has_operation(node: Node, *operations: str) -> bool:
    """Whether one of `operations` occurs in `node`."""
    return any(isinstance(part, Apply) and part.operation in operations for part in walk(node))
