"""A YAML file that is complained about by line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from hpt_core.errors import InputError


def read(path: Path) -> Any:
    """The tree of the file, which knows its lines. Raises InputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{path}: not found; run from the project's folder, or `hpt recipe embedded`"
        ) from None
    try:
        return YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}:{line}: not YAML: {error.problem}") from error


def told(path: Path, tree: Any, item: Any) -> str:
    """file:line: key: what is wrong and what to do."""
    location = (*item["loc"], *item.get("ctx", {}).get("location", ()))
    key = ".".join(map(str, location)) or "params"
    return f"{path}:{_line(tree, location)}: {key}: {_remedy(item)}"


def plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [plain(value) for value in node]
    return node


def _line(tree: Any, location: tuple[int | str, ...]) -> int:
    """The line of the deepest part of `location` that the file has."""
    line = 1
    for key in location:
        if isinstance(tree, CommentedMap) and key in tree:
            line = tree.lc.key(key)[0] + 1
        elif isinstance(tree, CommentedSeq) and isinstance(key, int) and key < len(tree):
            line = tree.lc.item(key)[0] + 1
        else:
            break
        tree = tree[key]
    return line


def _remedy(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "unknown key; correct its spelling or remove it (the README lists every key)"
    if item["type"] == "missing":
        return "missing; add it (the README lists every key)"
    if item["type"] == "told":
        return str(item["msg"])
    return f"{item['msg']}; got {item['input']!r}"[:400]
