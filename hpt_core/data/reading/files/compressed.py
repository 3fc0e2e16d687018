"""The bytes of a text file, decompressed; what is no text is refused with the remedy.

pyarrow reads the streams of several members that `cat` or pigz writes, and notices where a stream is cut off.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import IO, Any, cast

import pyarrow as pa

from hpt_core.data.reading.files.location import Location
from hpt_core.data.reading.files.names import Compression, compression_of
from hpt_core.errors import InputError

_HEAD = 64
"""Bytes at the beginning of a file that are looked at."""
_COMPRESSED: dict[bytes, Compression] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
}
"""First bytes of a compressed file, whose name may not say so."""
_KNOWN = {
    b"version https://git-lfs": ("pointer", "a pointer of Git LFS and not the data; run `git lfs pull`"),
    b"<!doctype html": ("page", "a web page, as of an error or a login; download the data again"),
    b"<html": ("page", "a web page, as of an error or a login; download the data again"),
    b"PK\x03\x04": ("zip", "a zip archive or an Excel workbook; unpack it, or export the sheet as CSV"),
    b"PAR1": ("parquet", "a parquet file; name it .parquet"),
    b"ARROW1": ("arrow", "an arrow file; name it .arrow"),
}
"""First bytes of a file, in lower case where they are letters of a text -> what it is, and the remedy."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@contextmanager
def text_bytes(path: Location, setting: str) -> Iterator[BufferedReader]:
    """Open a text file for reading bytes. Errors of decompression, also later ones, become InputErrors.

    Raises InputError if the file is cut off, damaged or no text in UTF-8.
    """
    with path.open("rb") as raw:
        data = cast(BufferedReader, raw)
        head = data.peek(_HEAD)[:_HEAD]
        compression = compression_of(path.name) or _by_content(head)
        if compression is None:
            _check_text(head, path, setting)
            yield data
            return
        if not head:
            raise InputError(
                f"{path}: 0 bytes, which is no {compression} file; copy it again, or correct {setting}"
            )
        try:
            with BufferedReader(_OPENERS[compression](data)) as plain:
                _check_text(plain.peek(_HEAD)[:_HEAD], path, setting)
                yield plain
        except (OSError, EOFError, lzma.LZMAError) as error:
            raise InputError(
                f"{path}: cut off, damaged or no {compression} file ({error}); copy or download it again, or "
                f"decompress it, or correct {setting}"
            ) from error


def _check_text(head: bytes, path: Location, setting: str) -> None:
    check_head(head, path, setting)
    if head.startswith(_UTF16) or b"\0" in head[:4].strip(b"\0"):
        raise InputError(
            f"{path}:1: not_utf8: the file is in UTF-16; save it again in UTF-8 (iconv -f UTF-16 -t UTF-8), "
            f"or correct {setting}"
        )


def check_head(head: bytes, path: Location, setting: str, expected: str = "text") -> None:
    """Raise InputError if the first bytes of `path` show that it is something else than `expected`."""
    for start, (kind, what) in _KNOWN.items():
        if kind != expected and (head.startswith(start) or head.lstrip().lower().startswith(start)):
            raise InputError(f"{path}: this is {what}, or correct {setting}")


def _by_content(head: bytes) -> Compression | None:
    return next((kind for start, kind in _COMPRESSED.items() if head.startswith(start)), None)


def _arrow(kind: str) -> Callable[[IO[bytes]], Any]:
    return lambda data: pa.CompressedInputStream(pa.PythonFile(data, mode="r"), kind)


_OPENERS: dict[Compression, Callable[[IO[bytes]], Any]] = {
    "gzip": _arrow("gzip"),
    "zstd": _arrow("zstd"),
    "bz2": _arrow("bz2"),
    "lz4": _arrow("lz4"),
    "xz": lzma.LZMAFile,
}
