"""Where a file of the inbox goes: below the folder that its source reads, and nowhere else."""

from __future__ import annotations

import glob
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hpt_core.config import ExpertSource
from hpt_core.data.reading.files.names import READ, format_of
from hpt_core.data.reading.files.shards import PATTERN, folder_of, is_left_out
from pipelines.inbox.refused import Refused, Waits
from pipelines.params import Params

DATA = Path("raw/data")
INBOX = DATA / "inbox"
"""Where `hpt inbox` suggests to put the folder of a source."""
LONGEST = 200
"""Bytes of a part of a name; file systems take 255, and temporary files add to it."""
_PART = re.compile(r"[^\W_](?:[\w .+=@,()-]*[\w+=@()-])?")
"""A file or folder: begins with a letter or digit, has no space or dot at its end."""


@dataclass(frozen=True)
class Folder:
    """The folder that a source of demonstrations reads."""

    source: ExpertSource
    path: Path
    """Relative to the project."""

    def file(self, name: str, root: Path) -> Path:
        """The path, relative to the project, of the file with this name below SOURCE/ in the inbox.

        Raises Refused for a name that could leave the folder, or that the source would not read.
        """
        if not name:
            raise Refused("bad_name", "a file has a name below SOURCE/; upload it under one")
        parts = name.split("/")
        for part in parts:
            if not _PART.fullmatch(part):
                raise Refused(
                    "bad_name",
                    f"{part[:80]!r}: names begin with a letter or digit and have letters, digits, spaces and "
                    ". _ - + = @ , ( ) only; upload it under another name",
                )
            if len(part.encode()) > LONGEST:
                raise Refused("bad_name", f"{part[:40]!r}... has more than {LONGEST} bytes; shorten it")
        if format_of(name) is None or is_left_out(PurePosixPath(name)):
            raise Refused("not_data", f"no data file by its name ({READ}); convert or rename it")
        path = self.path / name
        if not (root / path).parent.resolve().is_relative_to((root / self.path).resolve()):
            raise Refused("bad_name", f"{path.parent} is a link out of {self.path}; upload it elsewhere")
        file = self.source.file
        assert file is not None
        if PATTERN.search(file) and not _matches(path, file):
            raise Refused(
                "not_read", f"`file` of the source reads {file}; upload it under a name that matches"
            )
        return path


def folders(params: Params, root: Path) -> Mapping[str, Folder]:
    """Source -> its folder, for each source of `experts.sources` that reads one below raw/data."""
    return {
        source.name: Folder(source, path)
        for source in params.experts.sources
        if (path := _folder(source, root)) is not None
    }


def folder_for(name: str, params: Params, root: Path) -> Folder:
    """The folder of the source `name`. Raises Refused or Waits where the inbox can take no file for it."""
    known = folders(params, root)
    if name not in known:
        shown = name[:80]
        if name not in [source.name for source in params.experts.sources]:
            names = f"it has {', '.join(known)}" if known else "it has none that reads a folder"
            raise Refused("unknown_source", f"experts.sources has no {shown!r}; {names}")
        raise Refused(
            "unknown_source",
            f"source {shown!r} reads no folder below {DATA}; set its `file: {INBOX}/{shown}`",
        )
    folder = known[name]
    if folder.source.license not in params.experts.licenses:
        # An error of params.yaml, for which no file is to blame.
        raise Waits(
            f"params.yaml: source {name!r} has the license {folder.source.license!r}, which is not in "
            f"experts.licenses {params.experts.licenses}; add it there, or correct the license"
        )
    return folder


def _folder(source: ExpertSource, root: Path) -> Path | None:
    file = source.file
    if not file or "://" in file or (root / file).is_file():
        return None
    if not PATTERN.search(file) and format_of(file) is not None and not (root / file).is_dir():
        return None  # One file, which is not there yet.
    path = Path(os.path.normpath(folder_of(file)))
    inside = (root / path).resolve().is_relative_to((root / DATA).resolve())
    return path if inside and not path.is_absolute() and path != DATA else None


def _matches(path: Path, pattern: str) -> bool:
    """Whether the pattern, which the reader gives to `glob`, will match a file at `path`."""
    with tempfile.TemporaryDirectory() as empty:
        copy = Path(empty) / path
        copy.parent.mkdir(parents=True)
        copy.touch()
        found = glob.glob(os.path.join(glob.escape(empty), os.path.normpath(pattern)), recursive=True)
        return str(copy) in found
