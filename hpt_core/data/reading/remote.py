"""Files of a source, here or on a server: what `formats` asks of a path, for a URL of fsspec.

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

_BLOCK = 2**22  # bytes read ahead; s3fs would take 50 MiB


class RemoteFile:
    """A file behind a URL, read in pieces."""

    def __init__(self, url: str) -> None:
        # Imported here: most recipes read local files only.
        import fsspec

        self.url = url
        self.suffix = Path(url).suffix
        self._files, self._path = fsspec.url_to_fs(url)

    def __str__(self) -> str:
        return self.url

    def is_file(self) -> bool:
        """Raises what the server does, where that is not that there is no such file."""
        try:
            return bool(self._files.info(self._path)["type"] == "file")
        except FileNotFoundError:
            return False

    def open(self, mode: str = "r", *, encoding: str | None = None, newline: str | None = None) -> IO[Any]:
        # fsspec's own files read lines of any length only.
        data = BufferedReader(self._files.open(self._path, "rb", block_size=_BLOCK))
        return data if "b" in mode else TextIOWrapper(data, encoding=encoding, newline=newline)

    def read_text(self, encoding: str) -> str:
        with self.open(encoding=encoding) as file:
            return str(file.read())


Location = Path | RemoteFile


def located(file: str) -> Location:
    """`file` of a source: a path, or a URL such as s3://BUCKET/KEY. Raises InputError."""
    if "://" not in file:
        return Path(file)
    try:
        return RemoteFile(file)
    except (ValueError, ImportError) as error:
        raise InputError(f"{file}: {error}; give a path or s3://BUCKET/KEY") from error


def guarded(rows: Callable[[], Iterator[T]], file: str, name: str) -> Iterator[T]:
    """The rows of `file`; what its server says no with becomes an InputError that names source `name`."""
    if "://" not in file:
        yield from rows()
        return
    try:
        yield from rows()
    except InputError:
        raise
    except Exception as error:  # every protocol has errors of its own
        raise InputError(
            f"{file}: {type(error).__name__}: {error}; check `file` of source {name!r} in params.yaml, "
            f"AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL"
        ) from error
