"""Names of bound indices: \\sum_{k=1}^{n} k is \\sum_{i=1}^{n} i."""

from __future__ import annotations

from hpt_core.verifier.math.tree import Apply, Node, Symbol, children, replace_children

SERIES = frozenset(("sum", "prod", "integral"))


def rename(node: Node, old: Node, new: Node) -> Node:
    """`node` with `new` in place of each `old`."""
    if node == old:
        return new
    return replace_children(node, tuple(rename(child, old, new) for child in children(node)))


def with_numbered_indices(node: Node, depth: int = 0) -> Node:
    """`node` with its bound indices named by how deep they are nested."""
    match node:
        case Apply(operation, (index, lower, upper, body)) if operation in SERIES:
            numbered = Symbol(f"index {depth}")
            node = Apply(operation, (numbered, lower, upper, rename(body, index, numbered)))
            depth += 1
    return replace_children(node, tuple(with_numbered_indices(child, depth) for child in children(node)))
