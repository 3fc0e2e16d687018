"""`hpt arm`: adds a source to experts.sources of params.yaml, and an arm that learns from it alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError

from hpt_core.config.data import SOURCE
from hpt_core.errors import InputError
from pipelines.params import Params, load_params, recipes
from pipelines.params.commented_yaml import one_line
from pipelines.paths import PARAMS

SourceKeys: TypeAlias = Mapping[str, Any]
"""Keys of an expert source but its name, with values as YAML reads them; params.yaml's schema checks them."""


def parse(pairs: list[str]) -> SourceKeys:
    """The keys of an expert source from `key=value`, with values in YAML: columns='{problem: question}'.

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


def add(
    root: Path, name: str, source: SourceKeys, check: Callable[[Params], None] = lambda params: None
) -> None:
    """Add `source` and an arm to params.yaml, both under `name`; all else stays as it is.

    check: raises InputError where the new source cannot be used.

    Raises InputError if there is an arm or source of this name, or if `pipelines.params` refuses the result.
    """
    path = root / PARAMS
    if name in load_params(path).arms:
        raise InputError(f"{path}: there is an arm {name!r}; choose another name, or edit it there")

    def change(tree: CommentedMap) -> None:
        tree["experts"]["sources"].append(one_line({"name": name} | dict(source)))
        tree["arms"][name] = one_line({"mix": {f"{SOURCE}{name}": 1.0}})

    recipes.amend(root, change, f"+arms.{name}", check)
