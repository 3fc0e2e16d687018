"""A JSON text that is read value by value, so that a file of any size takes little memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from hpt_core.data.reading.files.compressed import text_bytes
from hpt_core.data.reading.files.json_objects import as_row
from hpt_core.data.reading.files.location import Location
from hpt_core.data.reading.lines import MAX_LINE
from hpt_core.data.reading.records import BadLine, Record
from hpt_core.errors import InputError
from hpt_core.files import ObjectDecoder

_CHUNK = 2**20
_SPACE = re.compile(r"[ \t\r\n]*")


@contextmanager
def json_text(path: Location, setting: str) -> Iterator[JsonText]:
    """Open a JSON text; its errors become InputErrors that name file, line and remedy."""
    with text_bytes(path, setting) as file:
        text, first = JsonText(file), ""
        try:
            first = text.peek()
            yield text
        except InputError:
            raise
        except UnicodeError as error:
            raise InputError(
                f"{path}:{text.line}: not UTF-8 ({error}); save it as UTF-8, or correct {setting}"
            ) from error
        except (ValueError, RecursionError) as error:
            what = "array" if first == "[" else "object"
            raise InputError(
                f"{path}:{text.line}: malformed JSON {what} ({error}); correct it, or give one object a line "
                f"(JSONL), where a bad line costs that line only ({setting})"
            ) from error


class JsonText:
    """A position in a JSON text. Methods raise ValueError where the text is not as they expect."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._decoder = ObjectDecoder()
        self._text, self._at, self._ended = "", 0, False
        self._line, self._counted = 1, 0
        self._start = 0

    @property
    def line(self) -> int:
        """Number of the line at the position."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def peek(self) -> str:
        """The next character that is no white space; "" at the end."""
        if self._at < len(self._text) and self._text[self._at] > " ":
            return self._text[self._at]
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._read()

    def take(self, expected: str) -> None:
        """Step over `expected`, a character."""
        if (found := self.peek()) != expected:
            raise ValueError(
                f"wanted {expected!r}, found {found!r}" if found else f"cut off: wanted {expected!r}"
            )
        self._at += 1

    def value(self) -> Any:
        """The value at the position, which moves behind it; of at most MAX_LINE characters."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if not self._ended and len(self._text) - self._at <= MAX_LINE:
                    self._read()
                    continue
                if isinstance(error, json.JSONDecodeError):
                    self._at = error.pos
                    raise ValueError(error.msg) from error
                raise
            if end == len(self._text) and not self._ended:
                self._read()  # A number may go on.
                continue
            self._start, self._at = self._at, end
            return value

    def row(self) -> Record | BadLine:
        """The value at the position as a row, or the `BadLine` that says why it is none."""
        value = self.value()
        return as_row(value, self._decoder.repeated, self._text[self._start : self._at])

    def items(self) -> Iterator[int]:
        """Step into the array at the position, and stop before each of its items; yields their numbers."""
        yield from self._entries("[", "]")

    def members(self) -> Iterator[str]:
        """Step into the object at the position, and stop before the value of each of its keys.

        Raises ValueError for a key that occurs twice.
        """
        seen: set[str] = set()
        for _ in self._entries("{", "}"):
            if self.peek() != '"':
                raise ValueError("wanted a key in quotation marks")
            key = self.value()
            if key in seen:
                raise ValueError(f"the object has the key {key!r} twice; give it once")
            seen.add(key)
            self.take(":")
            yield key

    def _entries(self, opening: str, closing: str) -> Iterator[int]:
        self.take(opening)
        number = 0
        while self.peek() != closing:
            if number:
                self.take(",")
                if self.peek() == closing:
                    break  # A comma after the last entry loses nothing.
            yield number
            number += 1
        self.take(closing)

    def skip(self) -> None:
        """Move behind the value at the position, of any size."""
        opening = self.peek()
        if opening in ("[", "{") and self._skip_what_is_read():
            return
        if opening == "[":
            for _ in self.items():
                self.skip()
        elif opening == "{":
            for _ in self.members():
                self.skip()
        else:
            self.value()

    def _skip_what_is_read(self) -> bool:
        """Move behind the array or object at the position, if all of it has been read from the file."""
        try:
            _, self._at = self._decoder.raw_decode(self._text, self._at)
        except (ValueError, RecursionError):
            return False
        return True

    def _read(self) -> None:
        """Read on, by at least as much as is waiting, so that a long value is not decoded too often."""
        self._line = self.line
        self._text = self._text[self._at :]
        self._at = self._counted = 0
        data = self._file.read(max(_CHUNK, len(self._text)))
        self._ended = not data
        try:
            self._text += self._utf8.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            self._line += self._text.count("\n") + error.object.count(b"\n", 0, error.start)
            raise UnicodeError(error.reason) from error
