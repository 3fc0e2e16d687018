"""The files that one name stands for: a file, all data files of a folder, or the matches of a pattern.

They come in the order of their names. Of a folder or the matches of a pattern, these are left out:

    hidden files          a name, or the name of a folder on the way, that begins with . or _ (_SUCCESS)
    notes                 README, LICENSE and the like, and the suffixes of NOTES
    what `datasets` keeps dataset_info.json, state.json ... and cache-*.arrow, the results of earlier calls

Any other file that is no data file is an error, so that no shard is left out unnoticed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import PurePosixPath

from hpt_core.data.reading.files.location import Location, below, location_of, matches
from hpt_core.data.reading.files.names import READ, format_of, uncompressed
from hpt_core.errors import InputError

_TEXTS = (".md", ".txt", ".rst", ".pdf", ".html", ".ipynb", ".png", ".jpg", ".svg", ".py", ".sh")
_SETTINGS = (".yaml", ".yml", ".toml", ".dvc", ".lock", ".crc", ".md5", ".sha256")
NOTES = frozenset(_TEXTS + _SETTINGS)
"""Suffixes of files that hold no rows."""
_NOTE_NAMES = re.compile(
    r"(readme|licen[cs]e|notice|citation|changelog|makefile|checksums?)\b.*", re.IGNORECASE
)
_OF_DATASETS = re.compile(r"dataset_infos?\.json|dataset_dict\.json|state\.json|cache-[0-9a-f]+.*\.arrow")
_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("validation", "valid", "val", "dev", "eval"), "validation"
)
"""Word in the name of a file -> split that it holds."""
_WORD = re.compile(r"[a-z]+")
PATTERN = re.compile(r"[*?\[]")
"""Part of a name that makes it a pattern."""


def files_of(file: str, setting: str) -> list[Location]:
    """The data files that `file` names, sorted; at least one.

    `setting` says, in errors, what names them. Raises InputError if there is none, if they have several
    formats, or if they are of several splits (train and test), which belong to sources of their own.
    """
    location = location_of(file)
    if location.is_file():
        return [location]
    file = str(location)
    found = data_files(file)
    if not found:
        raise InputError(f"{file}: {_nothing(location)}; correct {setting}")
    check_names(file, [str(data_file) for data_file in found], setting)
    return found


def check_names(file: str, found: Sequence[str], setting: str) -> None:
    """Raise InputError where the data files `found` of a folder or pattern are not one set of rows."""
    _check_twins(found)
    names = [_relative(name, file) for name in found]
    _check_one_format(file, names, setting)
    _check_one_split(file, names, setting)


def data_files(file: str) -> list[Location]:
    """The data files in the folder `file`, or those that match the pattern `file`, sorted; [] if none.

    Raises InputError for a file that is neither data nor left out, for a link to nothing, and for two files
    of one name with and without compression.
    """
    location = location_of(file)
    file = str(location)
    if location.is_dir():
        found = below(location)
    elif PATTERN.search(file):
        found = matches(location)
    else:
        return []
    data = sorted(name for name in found if not is_left_out(PurePosixPath(_relative(name, file))))
    for name in data:
        if format_of(name) is None:
            raise InputError(
                f"{name}: no data file by its name ({READ}); rename it, remove it, or give a pattern such as "
                f"{_example(file, data)}"
            )
    _check_twins(data)
    files = [location_of(name) for name in data]
    for data_file in files:
        if not data_file.is_file():
            raise InputError(f"{data_file}: a link to nothing; restore the file, or remove the link")
    return files


def is_left_out(path: PurePosixPath) -> bool:
    """Whether the file with this path below a folder is none of its data files, by its name."""
    if any(part.startswith((".", "_")) for part in path.parts):
        return True
    if _OF_DATASETS.fullmatch(path.name) or path.suffix.lower() in NOTES:
        return True
    return format_of(path.name) is None and _NOTE_NAMES.fullmatch(path.name) is not None


def _relative(name: str, file: str) -> str:
    """The part of `name` that `file`, a folder or a pattern, does not spell out."""
    return name.removeprefix(f"{folder_of(file)}/")


def _nothing(location: Location) -> str:
    if location.is_dir():
        return f"no data file in this folder ({READ})"
    if PATTERN.search(str(location)):
        return f"matches no data file ({READ})"
    if os.path.isfile(f"{location}.dvc"):
        return f"not here yet, only its {location}.dvc; run `dvc pull {location}.dvc`"
    return "no such file"


def _check_one_format(file: str, names: Sequence[str], setting: str) -> None:
    of_format = {format_of(name): name for name in reversed(names)}
    if len(of_format) > 1:
        shown = ", ".join(sorted(of_format.values()))
        raise InputError(
            f"{file}: files of several formats ({shown}), which may be copies of each other; give a pattern "
            f"such as {_example(file, names)} in {setting}"
        )


def _check_one_split(file: str, names: Sequence[str], setting: str) -> None:
    """Data sets are published with train and test side by side; one must not train on both unawares."""
    of_splits = {frozenset(_split_words(name).values()): name for name in reversed(names)}
    for (splits, name), (other_splits, other) in combinations(of_splits.items(), 2):
        if splits and other_splits and splits.isdisjoint(other_splits):
            folder, _, last = name.rpartition("/")
            words = _split_words(last)
            example = f"{folder_of(file)}/**/*{min(words)}*" if words else f"{folder_of(file)}/{folder}"
            raise InputError(
                f"{file}: {name} and {other} are of different splits; give each split a source of its own, "
                f"as in `file: {example}` ({setting})"
            )


def _split_words(name: str) -> dict[str, str]:
    return {word: _SPLITS[word] for word in _WORD.findall(name.lower()) if word in _SPLITS}


def _check_twins(names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(uncompressed(name), name)) != name:
            raise InputError(f"{other} and {name} are one file twice; remove one of them")


def _example(file: str, names: Sequence[str]) -> str:
    """A pattern for the first data file of `names` and those like it."""
    suffix = next((PurePosixPath(name).suffix for name in names if format_of(name)), ".jsonl")
    return f"{folder_of(file)}/**/*{suffix}"


def folder_of(file: str) -> str:
    """The folder that `file` is, or the last one that the pattern `file` spells out."""
    return (PATTERN.split(file)[0].rpartition("/")[0] or ".") if PATTERN.search(file) else file.rstrip("/")
