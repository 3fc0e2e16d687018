"""Lines of a file, none of them longer in memory than a row can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

MAX_LINE = 2**24
"""Bytes of a line; a longer one is no row."""
SHOWN = 2000
"""Bytes of a longer line that are kept."""

_PIECE = 2**20


def bounded_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes, int]]:
    """(number, line, bytes): of a line of more than MAX_LINE bytes only the beginning."""
    number = 0
    while data := file.readline(MAX_LINE + 1):
        number, size = number + 1, len(data)
        if size > MAX_LINE:
            data, ended = data[:SHOWN], data.endswith(b"\n")
            while not ended and (piece := file.readline(_PIECE)):
                size, ended = size + len(piece), piece.endswith(b"\n")
        yield number, data, size


def first_byte(file: IO[bytes]) -> bytes:
    """The first byte that is neither white space nor a byte order mark; none in an empty file."""
    while piece := file.read(_PIECE):
        if text := piece.removeprefix(b"\xef\xbb\xbf").lstrip():
            return text[:1]
    return b""
