"""An arm from a new source, in params.yaml: the source joins experts.sources, and the arm is of it alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError

from hpt_core.data.demonstrations.selection import SOURCE
from hpt_core.errors import InputError
from pipelines.params import load_params, recipes


def parse(pairs: list[str]) -> dict[str, Any]:
    """`key=value` of an expert source, each value in YAML: license=MIT columns='{problem: question}'.

    Raises InputError.
    """
    source: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        try:
            value = YAML(typ="safe").load(text)
        except MarkedYAMLError as error:
            raise InputError(f"{pair}: the value is not YAML: {error.problem}") from error
        if not equals or value is None:
            raise InputError(
                f"{pair}: give key=value, of the keys of an expert source (file=..., license=MIT)"
            )
        source[key] = value
    return source


def add(root: Path, name: str, source: Mapping[str, Any]) -> None:
    """Put `source`, under the name of the arm, and the arm into params.yaml; all else stays as it is.

    Raises InputError for what `pipelines.params` refuses, an arm or a source of this name included.
    """
    path = root / "params.yaml"
    if name in load_params(path).arms:
        raise InputError(f"{path}: there is an arm {name!r}; choose another name, or edit it there")

    def change(tree: CommentedMap) -> None:
        tree["experts"]["sources"].append(_on_one_line({"name": name} | dict(source)))
        tree["arms"][name] = _on_one_line({"mix": _on_one_line({f"{SOURCE}{name}": 1.0})})

    recipes.amend(root, change, f"+arms.{name}")


def _on_one_line(values: Mapping[str, Any]) -> CommentedMap:
    flow = CommentedMap(values)
    flow.fa.set_flow_style()
    return flow
