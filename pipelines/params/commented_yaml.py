"""The text of params.yaml: values with the schema's descriptions as comments."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise, takewhile
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.tokens import CommentToken

from hpt_core.config import Config
from pipelines.params.descriptions import subsection, summary

Comments = Mapping[tuple[str, ...], str]
"""Key with the keys of its sections, such as ("train", "steps") -> comment behind it."""


def load(text: str) -> CommentedMap:
    """The tree of `text`, with its comments."""
    return _yaml().load(text) or CommentedMap()


def dump(tree: CommentedMap) -> str:
    """The text of `tree`, with its comments."""
    buffer = io.StringIO()
    _yaml().dump(tree, buffer)
    return buffer.getvalue()


def separate_sections(text: str) -> str:
    """`text` with one empty line before each section and the comments above it, and no other."""
    blocks: list[list[str]] = [[]]
    for line in filter(None, text.splitlines()):
        has_key = any(not above.startswith("#") for above in blocks[-1])
        if has_key and not line.startswith(" "):
            blocks.append([])
        blocks[-1].append(line)
    lines = blocks[0]
    for before, block in pairwise(blocks):
        is_section = any(line.startswith(" ") for line in before + block)
        lines = [*lines, *([""] if is_section else []), *block]
    return "".join(f"{line}\n" for line in lines)


def describe(schema: type[Config], values: Mapping[str, Any], comments: Comments) -> CommentedMap:
    """The tree of `values`; each key has its comment in `comments`, or else the schema's description."""
    tree = CommentedMap()
    for key, value in values.items():
        field = schema.model_fields.get(key)
        model = subsection(field.annotation) if field else None
        below = {path[1:]: comment for path, comment in comments.items() if path[:1] == (key,)}
        tree[key] = describe(model, value, below) if model and isinstance(value, dict) else _layout(value)
        if comment := below.get((), summary(field) if field else None):
            _set_comment(tree, key, f"# {comment}\n")
    return tree


def update(tree: CommentedMap, new: CommentedMap) -> None:
    """Give `tree` the values of `new`; unchanged values keep their text, and all keys their comments."""
    for key in [key for key in tree if key not in new]:
        del tree[key]
    for key, value in new.items():
        if key not in tree:
            tree[key] = value
            _set_comment(tree, key, _comment(new, key))
        elif isinstance(tree[key], CommentedMap) and isinstance(value, CommentedMap):
            update(tree[key], value)
        # In Python 1 == 1.0 == True; in checked parameters they differ.
        elif json.dumps(tree[key], default=str) != json.dumps(value, default=str):
            tree[key] = value
            _set_comment(tree, key, _comment(tree, key))


def comments_of(text: str) -> tuple[list[str], Comments]:
    """The lines of comment at the top of `text`, and the comments behind its keys."""
    head = list(takewhile(lambda line: line.startswith("#"), text.splitlines()))
    return head, dict(_key_comments(load(text)))


def one_line(values: Mapping[str, Any] | Sequence[Any]) -> CommentedMap | CommentedSeq:
    """`values` in braces or brackets on one line."""
    node = CommentedMap(values) if isinstance(values, Mapping) else CommentedSeq(values)
    node.fa.set_flow_style()
    return node


def _comment(tree: CommentedMap, key: str) -> str:
    """The comment behind `key`, with the lines up to the next key; "" for none."""
    token = tree.ca.items.get(key, [None, None, None])[2]
    return token.value.lstrip(" ") if token else ""


def _set_comment(tree: CommentedMap, key: str, comment: str) -> None:
    if comment:
        # ruamel puts one space before a comment of column 0; another one here makes two.
        space = "" if comment.startswith("\n") else " "
        tree.ca.items[key] = [None, None, CommentToken(space + comment, CommentMark(0), None), None]


def _key_comments(node: Any) -> list[tuple[tuple[str, ...], str]]:
    comments = []
    for key, value in node.items() if isinstance(node, CommentedMap) else ():
        comments.append(((key,), _comment(node, key).partition("\n")[0].strip("# ")))
        comments += [((key, *path), comment) for path, comment in _key_comments(value)]
    return [(path, comment) for path, comment in comments if comment]


def _layout(value: Any) -> Any:
    """A list of maps has one line for each; so has a map of lists or maps. All else is on one line."""
    if isinstance(value, dict) and any(isinstance(each, dict | list) for each in value.values()):
        return CommentedMap(
            {key: _layout(each) if isinstance(each, list) else _inline(each) for key, each in value.items()}
        )
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        return CommentedSeq(_inline(each) for each in value)
    return _inline(value)


def _inline(value: Any) -> Any:
    return one_line(value) if isinstance(value, dict | list) else value


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    # A source stays on one line, however long it is, since a broken flow map is hard to read and to compare.
    yaml.width, yaml.preserve_quotes = 4096, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), _null)
    return yaml


def _null(representer: RoundTripRepresenter, value: None) -> ScalarNode:
    """Write `teacher: null`: ruamel's `teacher:` looks unfinished."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")
