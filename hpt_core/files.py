"""Text and JSON files: written in one move, and read with errors that name the file and the remedy."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from hpt_core.errors import InputError

STAGES = {"prompts": "curate", "experts": "experts", "teacher": "teacher_responses"}
"""Folder below data/ -> the stage of dvc.yaml that writes it."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces it when the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, which is either complete or unchanged."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as sorted, indented JSON to `path`, which is either complete or unchanged."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


class ObjectDecoder(json.JSONDecoder):
    """A JSON decoder that loses nothing: it notes a key that one object has twice, of which Python keeps the
    last, and a number with more digits than a float has becomes a Decimal."""

    def __init__(self) -> None:
        super().__init__(object_pairs_hook=self._object, parse_float=_exact)
        self.repeated: str | None = None
        """Such a key, of an object in the value that was decoded last."""

    def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
        self.repeated = None
        return super().raw_decode(s, idx)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            keys = [key for key, _ in pairs]
            self.repeated = next(key for key in keys if keys.count(key) > 1)
        return value


def _exact(text: str) -> float | Decimal:
    value = float(text)
    if len(text) <= sys.float_info.dig and math.isfinite(value):
        return value
    exact = Decimal(text)
    return value if Decimal(repr(value)) == exact else exact


def read_text(path: Path, remedy: str | None = None) -> str:
    """The text of `path`. Raises InputError where it is missing or not UTF-8."""
    present(path, remedy)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error}); {remedy or _replacement(path)}") from error


def read_json(path: Path, remedy: str | None = None) -> dict[str, Any]:
    """The object in `path`. Raises InputError where the file is missing or holds anything else.

    remedy: what the user can do about it; by default, to run the stage that writes `path`.
    """
    return _parsed(read_text(path, remedy), str(path), remedy or _replacement(path))


def read_json_lines(path: Path, remedy: str | None = None) -> list[dict[str, Any]]:
    """The objects in `path`, one a line. Raises InputError, with the line, for a line that holds none."""
    # Not splitlines(), which also splits at separators that JSON strings may hold.
    lines = enumerate(read_text(path, remedy).split("\n"), 1)
    return [_parsed(line, f"{path}:{n}", remedy or _replacement(path)) for n, line in lines if line]


def _parsed(text: str, place: str, remedy: str) -> dict[str, Any]:
    """The object that `text` from `place` holds. Raises InputError."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"{place}: not JSON ({error}); {remedy}") from error
    if not isinstance(value, dict):
        raise InputError(f"{place}: not a JSON object; {remedy}")
    return value


def read_steps(path: Path, remedy: str | None = None) -> list[dict[str, Any]]:
    """The steps of a training log, metrics/train/ARM.jsonl, each with its "step", an int.

    Raises InputError where the file is missing, damaged or empty.
    """
    rows = read_json_lines(path, remedy)
    for number, row in enumerate(rows, 1):
        try:
            row["step"] = int(row["step"])
        except (ValueError, KeyError, TypeError) as error:
            problem = f"not the metrics of a step ({type(error).__name__}: {error})"
            raise InputError(f"{path}:{number}: {problem}; {remedy or _replacement(path)}") from error
    if not rows:
        raise InputError(f"{path}: no steps; {remedy or _replacement(path)}")
    return rows


def present(path: Path, remedy: str | None = None) -> Path:
    """`path`. Raises InputError where there is no such file."""
    if not path.is_file():
        raise InputError(f"{path}: not found; {remedy or command(path)}")
    return path


def command(path: Path) -> str:
    """The command that writes `path`, an output of a stage, as an instruction to the user."""
    stage = _stage(path)
    return f"run `dvc repro {stage}`" if stage else "run `dvc repro`"


def _replacement(path: Path) -> str:
    """The instruction for a file that exists and cannot be used."""
    return f"remove it and {command(path)}"


def _stage(path: Path) -> str | None:
    """The stage of dvc.yaml that writes `path`, from its folder; None for a file of no known stage."""
    folder, parent = path.parent.name, path.parent.parent.name
    if parent == "rollouts":
        return "rollouts" if folder == "base" else f"train@{folder}"
    if folder == "demonstrations":
        return f"select@{path.stem}"
    if folder == "eval":
        return "evaluate_base" if path.stem == "base" else f"evaluate@{path.stem}"
    if folder == "train":
        return f"train@{path.stem}"
    if folder == "timings":
        return path.stem
    if (folder, path.name) == ("metrics", "compare.json"):
        return "compare"
    return STAGES.get(folder)
