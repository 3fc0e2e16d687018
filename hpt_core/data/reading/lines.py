"""Lines of a file, with a bound on the memory that one line takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

MAX_LINE = 2**24
"""Largest number of bytes of a line; a longer line is rejected."""
SHOWN = 2000
"""Number of bytes of a longer line that are kept for the quarantine."""

_CHUNK = 2**20


def bounded_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes, int]]:
    """Yield (line number, line, size in bytes); only the beginning of a line of more than MAX_LINE bytes."""
    number = 0
    while data := file.readline(MAX_LINE + 1):
        number, size = number + 1, len(data)
        if size > MAX_LINE:
            data, ended = data[:SHOWN], data.endswith(b"\n")
            while not ended and (chunk := file.readline(_CHUNK)):
                size, ended = size + len(chunk), chunk.endswith(b"\n")
        yield number, data, size


def first_byte(file: IO[bytes]) -> bytes:
    """The first byte that is neither white space nor a byte order mark; b"" for an empty file."""
    while chunk := file.read(_CHUNK):
        if text := chunk.removeprefix(b"\xef\xbb\xbf").lstrip():
            return text[:1]
    return b""
