"""conf/ -> params.yaml, by Hydra's composition; comments of the keys that stay the same survive."""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.utils.hydra import apply_overrides
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from hpt_core.errors import InputError
from pipelines.params import MARK, Params, load_params


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
    conf = [root / "conf" / "config.yaml", root / "conf" / "recipe" / f"{recipe}.yaml"]
    written = [_yaml().load(file.read_text(encoding="utf-8")) or CommentedMap() for file in conf]
    _replace(path, [recipe, *overrides], _merged(_unmarked(text), composed, written))


def override(root: Path, overrides: list[str]) -> None:
    """Set `overrides` in params.yaml as it is. Raises InputError as `write` does."""
    path = root / "params.yaml"
    load_params(path)
    text = path.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "params.yaml"
        copy.write_text(_unmarked(text), encoding="utf-8")
        try:
            apply_overrides(str(copy), overrides)
        except (DvcException, OmegaConfBaseException, HydraException) as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise InputError(f"{path} with {overrides}: {reason}") from error
        changed = copy.read_text(encoding="utf-8")
    _replace(path, [*_mark(text), *overrides], changed)


def amend(root: Path, change: Callable[[CommentedMap], None], told: str) -> None:
    """`change` the tree of params.yaml, where all else stays as it is; its first line then says `told`.

    Raises InputError as `write` does.
    """
    path = root / "params.yaml"
    load_params(path)
    text = path.read_text(encoding="utf-8")
    yaml, buffer = _yaml(), io.StringIO()
    tree = yaml.load(_unmarked(text))
    change(tree)
    yaml.dump(tree, buffer)
    changed = buffer.getvalue()
    _replace(path, [*_mark(text), told], _set_apart(changed) if "\n\n" in text else changed)


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


def _mark(text: str) -> list[str]:
    """What wrote a params.yaml."""
    return text.partition("\n")[0].removeprefix(MARK).split() if text.startswith(MARK) else ["custom"]


def _unmarked(text: str) -> str:
    return text.partition("\n")[2] if text.startswith(MARK) else text


def _compose(root: Path, recipe: str, overrides: list[str]) -> dict[str, Any]:
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
        reason = " ".join(str(error).split())
        raise InputError(f"recipe {recipe} with {overrides}: {reason}") from error
    assert isinstance(container, dict)
    known = [name for name in Params.model_fields if name in container]
    # Any other key is one that `load_params` will refuse by its name.
    rest = [name for name in container if name not in {*known, *inputs, "inputs"}]
    return {str(name): container[name] for name in (*known, *rest)}


def _merged(text: str, composed: dict[str, Any], written: list[CommentedMap]) -> str:
    """`text` with the values of `composed`; what is new in it looks as in `written`, the conf files."""
    yaml = _yaml()
    tree = yaml.load(text) or CommentedMap()
    _update(tree, composed, written)
    buffer = io.StringIO()
    yaml.dump(tree, buffer)
    new = buffer.getvalue()
    for comment in filter(None, set(_comments(tree))):
        # ruamel keeps a comment's column, whatever becomes of the value before it.
        new = re.sub(rf" +(?={re.escape(comment)}$)", "  ", new, flags=re.MULTILINE)
    return _set_apart(new) if not text or "\n\n" in text else new


def _set_apart(text: str) -> str:
    """One empty line before each section."""
    lines = [line for line in text.splitlines() if line]
    for at in range(len(lines) - 1, 0, -1):
        opens = at + 1 < len(lines) and lines[at + 1].startswith(" ")
        if lines[at][0] not in " #" and (opens or lines[at - 1].startswith(" ")):
            lines.insert(at, "")
    return "".join(f"{line}\n" for line in lines)


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    # A source stands on one line, however long: broken flow maps are hard to read and to compare.
    yaml.width, yaml.preserve_quotes = 4096, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), _null)
    return yaml


def _null(representer: RoundTripRepresenter, value: None) -> ScalarNode:
    """`teacher: null` rather than `teacher:`, which reads as if something had been forgotten."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _update(tree: CommentedMap, values: dict[str, Any], written: list[CommentedMap]) -> None:
    """Set `tree` to `values`; keys whose values stay the same keep their place and comments."""
    for key in [key for key in tree if key not in values]:
        del tree[key]
    for place, (key, value) in enumerate(values.items()):
        inner = [each[key] for each in written if isinstance(each.get(key), CommentedMap)]
        if key not in tree:
            tree.insert(place, key, None)
            _comment(tree, key, written)
        if inner and isinstance(value, dict) and not isinstance(tree[key], CommentedMap):
            tree[key] = CommentedMap()
        present = tree[key]
        if isinstance(present, CommentedMap) and isinstance(value, dict):
            if not present and inner and inner[-1].fa.flow_style():
                present.fa.set_flow_style()
            _update(present, value, inner)
        # True == 1 in Python, and not in a checked parameter.
        elif present != value or isinstance(present, bool) != isinstance(value, bool):
            tree[key] = _styled(value)


def _comment(tree: CommentedMap, key: str, written: list[CommentedMap]) -> None:
    """Take over the comment that stands behind `key` in one of the conf files."""
    for each in written:
        if text := _behind(each, key):
            tree.yaml_add_eol_comment(text, key, column=0)


def _behind(tree: CommentedMap, key: Any) -> str:
    """The comment on the line of `key`, or nothing."""
    token = tree.ca.items.get(key, [None, None, None])[2]
    return token.value.partition("\n")[0].strip() if token else ""


def _comments(node: Any) -> Iterator[str]:
    """The comments on the lines of keys."""
    if isinstance(node, CommentedMap):
        for key in node:
            yield _behind(node, key)
            yield from _comments(node[key])


def _styled(value: Any) -> Any:
    """A list of maps with each map on a line of its own."""
    if not isinstance(value, list):
        return value
    items = [CommentedMap(item) if isinstance(item, dict) else item for item in value]
    for item in items:
        if isinstance(item, CommentedMap):
            item.fa.set_flow_style()
    styled = CommentedSeq(items)
    if not any(isinstance(item, CommentedMap) for item in items):
        styled.fa.set_flow_style()
    return styled
