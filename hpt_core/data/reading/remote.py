"""Files of a source on a server: the part of `pathlib.Path` that `formats` needs, for a URL of fsspec.

s3://BUCKET/KEY is read through s3fs, which takes the standard variables: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and AWS_PROFILE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import IO, Any, TypeVar

from hpt_core.errors import InputError

T = TypeVar("T")

_BLOCK = 2**22  # bytes read ahead; the default of s3fs is 50 MiB


class RemoteFile:
    """A file behind a URL, read block by block."""

    def __init__(self, url: str) -> None:
        # Imported here because most recipes read local files only.
        import fsspec

        self.url = url
        self.suffix = Path(url).suffix
        self._files, self._path = fsspec.url_to_fs(url)

    def __str__(self) -> str:
        return self.url

    def is_file(self) -> bool:
        """Raises the error of the file system, unless it says that there is no such file."""
        try:
            return bool(self._files.info(self._path)["type"] == "file")
        except FileNotFoundError:
            return False

    def open(self, mode: str = "r", *, encoding: str | None = None, newline: str | None = None) -> IO[Any]:
        # fsspec's own file objects cannot bound the length of a line.
        data = BufferedReader(self._files.open(self._path, "rb", block_size=_BLOCK))
        return data if "b" in mode else TextIOWrapper(data, encoding=encoding, newline=newline)

    def read_bytes(self) -> bytes:
        with self.open("rb") as file:
            return bytes(file.read())


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
