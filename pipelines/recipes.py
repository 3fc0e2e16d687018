"""conf/ -> params.yaml, by Hydra's composition; comments of the keys that stay the same survive."""

from __future__ import annotations

import io
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.utils.hydra import apply_overrides
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from hpt_core.errors import InputError
from pipelines.params import load_params

MARK = "# recipe:"
"""Starts the first line of params.yaml, which says what wrote it."""


def names(root: Path) -> list[str]:
    """The recipes of conf/recipe."""
    return sorted(path.stem for path in (root / "conf" / "recipe").glob("*.yaml"))


def write(root: Path, recipe: str, overrides: list[str]) -> None:
    """Compose `recipe` with `overrides` (`key=value`) into params.yaml, once it is known to be valid.

    Raises InputError for an unknown recipe or key, or a value that `pipelines.params` refuses.
    """
    if recipe not in names(root):
        raise InputError(f"conf/recipe/{recipe}.yaml: not found; recipes: {', '.join(names(root))}")
    composed = _compose(root, recipe, overrides)
    path = root / "params.yaml"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    _replace(path, [recipe, *overrides], _merged(_unmarked(text), composed))


def override(root: Path, overrides: list[str]) -> None:
    """Set `overrides` in params.yaml as it is. Raises InputError as `write` does."""
    path = root / "params.yaml"
    load_params(path)
    text = path.read_text(encoding="utf-8")
    mark = text.partition("\n")[0].removeprefix(MARK) if text.startswith(MARK) else "custom"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "params.yaml"
        copy.write_text(_unmarked(text), encoding="utf-8")
        try:
            apply_overrides(str(copy), overrides)
        except (DvcException, OmegaConfBaseException, HydraException) as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise InputError(f"{path} with {overrides}: {reason}") from error
        changed = copy.read_text(encoding="utf-8")
    _replace(path, [*mark.split(), *overrides], changed)


def _replace(path: Path, mark: list[str], text: str) -> None:
    """Write `text` under its first line, if `pipelines.params` takes it."""
    new = path.with_name(".params.yaml.new")
    new.write_text(f"{MARK} {' '.join(mark)}\n{text}", encoding="utf-8")
    try:
        load_params(new)
        os.replace(new, path)
    except InputError as error:
        # The lines are those of a file that is not kept.
        reason = re.sub(rf"{re.escape(str(new))}:\d+", " ".join(mark), str(error))
        raise InputError(f"params.yaml is left as it was: {reason}") from None
    finally:
        new.unlink(missing_ok=True)


def _unmarked(text: str) -> str:
    return text.partition("\n")[2] if text.startswith(MARK) else text


def _compose(root: Path, recipe: str, overrides: list[str]) -> dict[str, Any]:
    folder = str((root / "conf").resolve())
    try:
        with initialize_config_dir(folder, version_base=None):
            config = compose("config", overrides=[f"recipe={recipe}", *overrides])
        container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"recipe {recipe} with {overrides}: {reason}") from error
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _merged(text: str, composed: dict[str, Any]) -> str:
    """`text` with the values of `composed`."""
    yaml = YAML(typ="rt")
    yaml.width, yaml.preserve_quotes = 110, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), _null)
    tree = yaml.load(text) or CommentedMap()
    _update(tree, composed)
    buffer = io.StringIO()
    yaml.dump(tree, buffer)
    return buffer.getvalue()


def _null(representer: RoundTripRepresenter, value: None) -> ScalarNode:
    """`teacher: null` rather than `teacher:`, which reads as if something had been forgotten."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _update(tree: CommentedMap, values: dict[str, Any]) -> None:
    for key in [key for key in tree if key not in values]:
        del tree[key]
    for key, value in values.items():
        present = tree.get(key)
        if isinstance(present, CommentedMap) and isinstance(value, dict):
            _update(present, value)
        # True == 1 in Python, and not in a checked parameter.
        elif key not in tree or present != value or isinstance(present, bool) != isinstance(value, bool):
            tree[key] = value
