"""Errors in a YAML file, each with its line, key and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from hpt_core.config.base import CUSTOM_ERROR
from hpt_core.errors import InputError


def read_yaml(path: Path) -> Any:
    """The tree of the file, with the line of each key. Raises InputError."""
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


def plain_values(node: Any) -> Any:
    """The values of a tree without lines and comments."""
    if isinstance(node, dict):
        return {str(key): plain_values(value) for key, value in node.items()}
    if isinstance(node, list):
        return [plain_values(value) for value in node]
    return node


def message(path: Path, tree: Any, details: ErrorDetails) -> str:
    """A validation error as `file:line: key: what is wrong and what to do`."""
    full = (*details["loc"], *details.get("ctx", {}).get("location", ()))
    # The schema names the alternatives of a union in angle brackets (`hpt_core.config.columns`).
    location = tuple(part for part in full if not str(part).startswith("<"))
    key = ".".join(map(str, location)) or "params"
    return f"{path}:{_line(tree, location)}: {key}: {_remedy(details)}"


def _line(tree: Any, location: tuple[int | str, ...]) -> int:
    """The line of the deepest part of `location` that is in the file."""
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


def _remedy(details: ErrorDetails) -> str:
    if details["type"] == "extra_forbidden":
        return "unknown key; correct its spelling or remove it (docs/configuration.md lists every key)"
    if details["type"] == "missing":
        return "missing; add it (docs/configuration.md lists every key)"
    if details["type"] == CUSTOM_ERROR:
        return details["msg"]
    return f"{details['msg']}; got {details['input']!r}"[:400]
