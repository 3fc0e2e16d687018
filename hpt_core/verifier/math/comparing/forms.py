"""Forms in which answers are compared: plus-minus as two values, names and units apart from values."""

from __future__ import annotations

from fractions import Fraction
from functools import reduce

from hpt_core.verifier.math.tree import (
    Apply,
    Bracketed,
    Items,
    Node,
    Number,
    Quantity,
    Relation,
    Symbol,
    Words,
    children,
    has_operation,
    replace_children,
)
from hpt_core.verifier.math.units import Unit
from hpt_core.verifier.math.vocabulary import FUNCTION_LETTERS


def expanded(node: Node) -> Node:
    """`node` with plus-minus as two values, and "x = 1 or x = 2" as x = {1, 2}."""
    if isinstance(node, Relation) and node.operators == (r"\in",) and isinstance(node.members[1], Items):
        node = Relation(("=",), node.members)
    if (
        isinstance(node, Relation)
        and node.operators[-1] == "="
        and has_operation(node.members[-1], "pm", "mp")
    ):
        return Relation(node.operators, (*node.members[:-1], expanded(node.members[-1])))
    if isinstance(node, Items):
        members: list[Node] = []
        for member in node.members:
            inner = expanded(member)
            # A list within a list, as from plus-minus, is no list of its own; a set within a set is one.
            flat = isinstance(inner, Items) and inner.joined_by != "{}"
            members.extend(inner.members if isinstance(inner, Items) and flat else (inner,))
        return _named_once(Items(tuple(members), node.joined_by))
    if not isinstance(node, Relation) and has_operation(node, "pm", "mp"):
        return Items((_with_sign(node, 1), _with_sign(node, -1)))
    return node


def _with_sign(node: Node, sign: int) -> Node:
    if isinstance(node, Apply) and node.operation in ("pm", "mp"):
        left, right = (_with_sign(part, sign) for part in node.operands)
        plus = (sign > 0) == (node.operation == "pm")
        return Apply("+", (left, right if plus else Apply("neg", (right,))))
    return replace_children(node, tuple(_with_sign(child, sign) for child in children(node)))


def _named_once(items: Items) -> Node:
    """x = 1, x = 2 as x = {1, 2}; n = 2, 3, 4 likewise; x_1 = 1, x_2 = 2 likewise."""
    names: list[Node] = []
    values: list[Node] = []
    for member in items.members:
        named = as_named(member)
        if named is not None:
            names.append(_without_index(named[0]))
            inner = named[1]
            values.extend(inner.members if isinstance(inner, Items) else (inner,))
        elif names and not isinstance(member, Relation):
            values.append(member)
        else:
            return items
    if not names or len(set(names)) != 1 or (len(names) != len(items.members) and len(names) != 1):
        return items
    return Relation(("=",), (names[0], Items(tuple(values), items.joined_by)))


def _without_index(name: Node) -> Node:
    match name:
        case Apply("_", (base, Number())):
            return base
    return name


def as_named(node: Node) -> tuple[Node, Node] | None:
    """The name and the value of x = 5, 5 = x, f(x) = x^2, (x, y) = (2, 3), \\angle A = 45; None for all else.

    Several names with one value each, as x = 2, y = 3, name a tuple in the order of the alphabet.
    """
    if isinstance(node, Items):
        pairs = [as_named(member) for member in node.members]
        if len(pairs) < 2 or any(p is None or not isinstance(p[0], Symbol) for p in pairs):
            return None
        ordered = sorted((p for p in pairs if p is not None), key=lambda p: str(p[0]))
        if len({p[0] for p in ordered}) != len(ordered):
            return None
        names, values = zip(*ordered, strict=True)
        return Bracketed("(", ")", tuple(names)), Bracketed("(", ")", tuple(values))
    if not isinstance(node, Relation) or not set(node.operators) <= {"=", r"\approx"}:
        return None
    first, last = node.members[0], node.members[-1]
    if is_free_name(first):
        return first, last
    if len(node.members) == 2 and is_free_name(last) and not is_free_name(first) and _is_number(first):
        return last, first
    return None


def _is_number(node: Node) -> bool:
    return isinstance(node, Number | Quantity) or (
        isinstance(node, Apply)
        and node.operation in ("neg", "/")
        and all(_is_number(o) for o in node.operands)
    )


def is_free_name(node: Node) -> bool:
    """Whether `node` only names what follows the equals sign: x, f(x), P(A), AB, \\angle A, (x, y), Area."""
    match node:
        case Symbol(name):
            return bool(name) and name not in ("e", "i", r"\pi", r"\infty")
        case Words():
            return True
        case Apply("_", (base, _)):
            return is_free_name(base)
        case Apply("apply", (Symbol(name), *_)):
            return name.rstrip("'") in FUNCTION_LETTERS
        case Apply("apply", (Apply("^", (base, Number())), *_)) | Apply("apply", (base, *_)):
            return is_free_name(base)
        case Apply("gcd" | "lcm" | "abs" | "det", operands):
            return all(is_free_name(o) for o in operands)
        case Apply("*"):
            return all(isinstance(f, Symbol) and _is_point_or_angle(f.name) for f in _factors(node))
        case Bracketed("(", ")", members):
            return all(is_free_name(m) for m in members)
    return False


def _is_point_or_angle(name: str) -> bool:
    """The factors of AB = 5 and of m\\angle A = 40."""
    return name.isupper() or name == "m" or name.startswith(r"\angle")


def _factors(node: Node) -> list[Node]:
    if isinstance(node, Apply) and node.operation == "*":
        return [factor for operand in node.operands for factor in _factors(operand)]
    return [node]


def is_linear(node: Node) -> bool:
    """Whether `node` is a sum such as m + n or 100a + 10b + c, whose value an answer states: m + n = 34."""
    match node:
        case Number():
            return True
        case Symbol(name):
            return name not in ("e", "i", r"\pi")
        case Apply("+" | "*" | "neg" | "_" | "/", operands):
            return all(is_linear(o) for o in operands)
    return False


def measure(node: Node) -> tuple[Node, Unit | None]:
    """The value of `node` and its unit. 3 hours 20 minutes is 12000 s."""
    match node:
        case Quantity(Quantity() as inner, unit):
            value, other = measure(inner)
            return value, unit if other is None else other * unit
        case Quantity(value, unit):
            return value, unit
        case Apply("neg", (Quantity(value, unit),)):
            return Apply("neg", (value,)), unit
        case Apply("+", operands) if all(isinstance(o, Quantity) for o in operands):
            quantities = [o for o in operands if isinstance(o, Quantity)]
            dimensions = {q.unit.dimensions for q in quantities}
            if len(dimensions) == 1:
                terms = tuple(Apply("*", (q.value, Number(q.unit.factor))) for q in quantities)
                return reduce(lambda a, b: Apply("+", (a, b)), terms), Unit(Fraction(1), dimensions.pop())
    return node, None


def is_value(node: Node) -> bool:
    """Whether `node` is something that arithmetic is done with, and no list, text or relation."""
    return isinstance(node, Number | Symbol | Apply | Quantity)
