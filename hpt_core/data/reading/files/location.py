"""Where a file is: a local path, or a URL of fsspec with the part of `pathlib.Path` that the readers need.

s3://BUCKET/KEY is read through s3fs, which takes the standard variables: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and AWS_PROFILE.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

from hpt_core.errors import InputError

T = TypeVar("T")

_BLOCK = 2**22  # bytes read ahead; the default of s3fs is 50 MiB
_WEB = ("http://", "https://")


class RemoteFile:
    """A file behind a URL, read block by block."""

    def __init__(self, url: str) -> None:
        # Imported here because most recipes read local files only.
        import fsspec

        self.url = url
        self.name = Path(urlsplit(url).path if url.startswith(_WEB) else url).name
        self._files, self._path = fsspec.url_to_fs(url)

    def __str__(self) -> str:
        return self.url

    def is_file(self) -> bool:
        return bool(self._kind() == "file")

    def is_dir(self) -> bool:
        # A web server lists no folders; fsspec would take the links of a page for files.
        return bool(self._kind() == "directory") and not self.url.startswith(_WEB)

    def _kind(self) -> Any:
        """Raises the error of the file system, unless it says that there is no such file."""
        try:
            return self._files.info(self._path)["type"]
        except FileNotFoundError:
            return None

    def open(self, mode: str = "rb") -> IO[bytes]:
        # fsspec's own file objects cannot bound the length of a line.
        return BufferedReader(self._files.open(self._path, mode, block_size=_BLOCK))

    def below(self) -> list[str]:
        """URLs of all files in this folder and the folders in it."""
        # A key that ends with / stands for a folder.
        found = (path for path in self._files.find(self._path) if not path.endswith("/"))
        return [self._files.unstrip_protocol(path) for path in found]

    def matches(self) -> list[str]:
        """URLs of all files that this URL matches as a pattern."""
        if self.url.startswith(_WEB):
            return []  # A ? begins a query there.
        found = self._files.glob(self._path, detail=True).items()
        return [self._files.unstrip_protocol(path) for path, info in found if info["type"] == "file"]


Location = Path | RemoteFile


def location_of(file: str) -> Location:
    """`file` of a source as a path or, for a URL such as s3://BUCKET/KEY, as a remote file. Raises
    InputError."""
    if "://" not in file:
        return Path(file)
    try:
        return RemoteFile(file)
    except (ValueError, ImportError) as error:
        raise InputError(f"{file}: {error}; give a path or s3://BUCKET/KEY") from error


def below(folder: Location) -> list[str]:
    """Names of all files in `folder` and the folders in it, links followed."""
    if isinstance(folder, RemoteFile):
        return folder.below()
    return _local(os.path.join(glob.escape(str(folder)), "**"))


def matches(pattern: Location) -> list[str]:
    """Names of all files that `pattern` matches; ** stands for any folders."""
    return pattern.matches() if isinstance(pattern, RemoteFile) else _local(str(pattern))


def _local(pattern: str) -> list[str]:
    found = glob.glob(pattern, recursive=True, include_hidden=True)
    return [path for path in found if not os.path.isdir(path)]


def with_server_errors(rows: Callable[[], Iterator[T]], file: str, name: str) -> Iterator[T]:
    """Yield the rows of `file`; an error of its server becomes an InputError that names source `name`."""
    if "://" not in file:
        yield from rows()
        return
    try:
        yield from rows()
    except InputError:
        raise
    except Exception as error:  # each protocol of fsspec raises its own exceptions
        raise InputError(
            f"{file}: {type(error).__name__}: {error}; check `file` of source {name!r} in params.yaml, "
            f"AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL"
        ) from error
