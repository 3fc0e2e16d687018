"""Recipes, which Hydra composes from conf/ into params.yaml, and overrides of an existing params.yaml."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.utils.hydra import apply_overrides
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from ruamel.yaml.comments import CommentedMap

from hpt_core.errors import InputError
from hpt_core.files import replacing
from pipelines.params import MARK, Params, commented_yaml, load_params, yaml_errors
from pipelines.params.overrides import unknown_key
from pipelines.paths import PARAMS, RECIPES, recipe_names

POINTER = "# docs/configuration.md describes every key; an optional key that is missing takes its default."


def write(root: Path, recipe: str, overrides: list[str]) -> None:
    """Compose `recipe` with `overrides` (`key=value`) and write params.yaml anew, if the result is valid.

    Each key has the comment that the recipe's file gives it, or else the schema's description. Raises
    InputError for an unknown recipe or key, or a value that `pipelines.params` refuses.
    """
    if recipe not in (names := recipe_names(root)):
        raise InputError(f"conf/recipe/{recipe}.yaml: not found; recipes: {', '.join(names)}")
    values = composed(root, recipe, overrides)
    source = root / RECIPES / f"{recipe}.yaml"
    head, comments = commented_yaml.comments_of(source.read_text(encoding="utf-8"))
    tree = commented_yaml.describe(Params, values, comments)
    text = commented_yaml.separate_sections(commented_yaml.dump(tree))
    about = [line for line in head if not line.startswith(("# @package", MARK))]
    _replace(root / PARAMS, [recipe, *overrides], "\n".join([*about, POINTER, text]))


def read(root: Path, recipe: str | None, overrides: list[str]) -> Params:
    """The parameters that `write` or, without a recipe, `override` would write; params.yaml stays as it is.

    Raises InputError as they do.
    """
    if recipe is None and not overrides:
        return load_params(root / PARAMS)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        if recipe is None:
            shutil.copy(root / PARAMS, copy)
            override(copy, overrides)
        else:
            (copy / "conf").symlink_to((root / "conf").resolve())
            write(copy, recipe, overrides)
        return load_params(copy / PARAMS)


def override(root: Path, overrides: list[str]) -> None:
    """Set `overrides` in params.yaml, with all else unchanged. Raises InputError as `write` does."""
    path = root / PARAMS
    load_params(path)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(path, folder))
        try:
            # DVC's function, so that `dvc exp run -S` understands the same overrides.
            apply_overrides(str(copy), overrides)
        except (DvcException, OmegaConfBaseException, HydraException) as error:
            present = yaml_errors.plain_values(yaml_errors.read_yaml(path))
            advice = [unknown_key(each, Params, present) for each in overrides]
            reason = next(filter(None, advice), None) or " ".join(str(error.__cause__ or error).split())
            raise InputError(f"{path} with {overrides}: {reason}") from error
        values = yaml_errors.plain_values(yaml_errors.read_yaml(copy))
    changed = commented_yaml.describe(Params, values, {})
    amend(root, lambda tree: commented_yaml.update(tree, changed), " ".join(overrides))


def amend(
    root: Path,
    change: Callable[[CommentedMap], None],
    note: str,
    check: Callable[[Params], None] = lambda params: None,
) -> None:
    """Apply `change` to the tree of params.yaml, with all else unchanged, and add `note` to its first line.

    check: raises InputError for parameters that must not be written. Raises InputError as `write` does.
    """
    path = root / PARAMS
    load_params(path)
    written_by, text = _split(path)
    tree = commented_yaml.load(text)
    change(tree)
    changed = commented_yaml.dump(tree)
    if "\n\n" in text and changed.count("\n") != text.count("\n"):
        # ruamel keeps an empty line behind the entry before it, which may no longer be the section's last.
        changed = commented_yaml.separate_sections(changed)
    _replace(path, [*written_by, note], changed, check)


def _split(path: Path) -> tuple[list[str], str]:
    """The recipe and overrides that the first line of params.yaml names, and the text below that line."""
    text = path.read_text(encoding="utf-8")
    first, _, rest = text.partition("\n")
    return (first.removeprefix(MARK).split(), rest) if first.startswith(MARK) else (["custom"], text)


def _replace(
    path: Path, written_by: list[str], text: str, check: Callable[[Params], None] = lambda params: None
) -> None:
    """Write `text` below its first line, if `pipelines.params` and `check` accept it."""
    with replacing(path) as new:
        new.write_text(f"{MARK} {' '.join(written_by)}\n{text}", encoding="utf-8")
        try:
            check(load_params(new))
        except InputError as error:
            # The line numbers belong to a file that is not kept.
            reason = re.sub(rf"{re.escape(str(new))}:\d+", " ".join(written_by), str(error))
            raise InputError(f"params.yaml is left as it was: {reason}") from None


def _advice(folder: str, recipe: str, overrides: list[str]) -> str | None:
    """What to do about the first override whose key the recipe does not have."""
    try:
        with initialize_config_dir(folder, version_base=None):
            values = OmegaConf.to_container(compose("config", overrides=[f"recipe={recipe}"]))
    except (HydraException, OmegaConfBaseException):
        return None  # The recipe itself is at fault.
    assert isinstance(values, dict)
    plain = {str(key): value for key, value in values.items()}
    return next(filter(None, (unknown_key(each, Params, plain) for each in overrides)), None)


def composed(root: Path, recipe: str, overrides: list[str]) -> dict[str, Any]:
    """The values of `recipe`, without its inputs, with sections in the schema's order. Raises InputError."""
    folder = str((root / "conf").resolve())
    try:
        with initialize_config_dir(folder, version_base=None):
            config = compose("config", overrides=[f"recipe={recipe}", *overrides])
        inputs = dict(config.get("inputs", {}))
        for name, what in inputs.items():
            if OmegaConf.is_missing(config, name):
                raise InputError(f"recipe {recipe} needs {name}=...: {what}")
        container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        reason = _advice(folder, recipe, overrides) or " ".join(str(error).split())
        raise InputError(f"recipe {recipe} with {overrides}: {reason}") from error
    assert isinstance(container, dict)
    # Keys that the schema does not have come last; `load_params` refuses them by their names.
    keys = dict.fromkeys([*Params.model_fields, *map(str, container)])
    return {key: container[key] for key in keys if key in container and key not in {*inputs, "inputs"}}
