"""Errors in a YAML file, each with its line, key and remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from hpt_core.config.base import CUSTOM_ERROR
from hpt_core.errors import InputError

LARGEST = 1 << 18
"""Bytes of the file."""
MOST_VALUES = 50_000
"""Values in the file, each counted as often as an alias repeats it: a few lines can stand for billions."""
DEEPEST = 100
"""Lists and mappings within each other."""


def read_yaml(path: Path) -> Any:
    """The tree of the file, with the line of each key. Raises InputError, also where it is too large."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"{path}: not found; run from the project's folder, or `hpt recipe embedded`"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file of parameters") from error
    if len(content) > LARGEST:
        raise InputError(f"{path}: {len(content):,} bytes are over {LARGEST:,}; parameters hold no data")
    try:
        text = content.decode("utf-8")
        if _is_too_deep(text):  # The parser's time grows with the square of the depth.
            raise InputError(_too_large(path))
        tree = YAML(typ="rt").load(text)
        _check_size(path, tree)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}:{line}: not YAML: {error.problem}") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())[:200]}") from error
    except RecursionError:
        raise InputError(_too_large(path)) from None
    return tree


def _is_too_deep(text: str) -> bool:
    """Whether more brackets are open at once, or more list items begin in a row, than `DEEPEST`."""
    depth = deepest = 0
    for bracket in re.findall(r"[][{}]", text):
        depth = max(0, depth + (1 if bracket in "[{" else -1))
        deepest = max(deepest, depth)
    return deepest > DEEPEST or re.search(rf"(?:[-?:]\s+){{{DEEPEST},}}", text) is not None


def _check_size(path: Path, tree: Any) -> None:
    values, pending = 0, [(tree, 0)]
    while pending:
        node, depth = pending.pop()
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        values += len(children)
        if values > MOST_VALUES or depth > DEEPEST:
            raise InputError(_too_large(path))
        pending += [(child, depth + 1) for child in children]


def _too_large(path: Path) -> str:
    return (
        f"{path}: over {MOST_VALUES:,} values or {DEEPEST} levels, counting what aliases (*name) repeat; "
        "write fewer"
    )


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
