"""Rows of JSON: an object a line, arrays of objects, or one object that holds the rows under a key.

What a file holds is decided by its beginning rather than by its suffix, since both are used for everything. A
line that is no row costs that row only; a fault in a text that goes over several lines ends the reading.
"""

from __future__ import annotations

from collections.abc import Iterator

from hpt_core.data.reading.files.compressed import text_bytes
from hpt_core.data.reading.files.json_objects import TURNS, parse_line
from hpt_core.data.reading.files.json_shape import root_of
from hpt_core.data.reading.files.json_text import JsonText, json_text
from hpt_core.data.reading.files.location import Location
from hpt_core.data.reading.files.names import format_of
from hpt_core.data.reading.lines import MAX_LINE, bounded_lines, first_byte
from hpt_core.data.reading.records import BadLine, NumberedRecord, Record
from hpt_core.files import ObjectDecoder

_LONGEST_CONVERSATION = 2**20
"""Bytes of the first line that are looked at."""
_BOM = b"\xef\xbb\xbf"


def json_records(path: Location, setting: str, root: str | None) -> Iterator[NumberedRecord]:
    """Rows of `path`, each with the line on which it begins.

    root: key, or dotted path of keys, of the rows in an object: an array of rows, or an object whose values
    are rows; "." is the object itself. By default the only array of objects is taken.
    """
    if root is None and _one_row_a_line(path, setting):
        yield from _line_records(path, setting)
    else:
        yield from _document_records(path, setting, root)


def _line_records(path: Location, setting: str) -> Iterator[NumberedRecord]:
    decoder = ObjectDecoder()
    with text_bytes(path, setting) as file:
        for number, data, size in bounded_lines(file):
            data = data.removeprefix(_BOM)  # On any line: files that begin with it are put together by `cat`.
            if size > MAX_LINE:
                text = data.decode("utf-8", errors="replace")
                yield number, BadLine("line_too_long", f"{size} bytes; a row has at most {MAX_LINE}", text)
            elif data.strip():
                yield number, parse_line(data, decoder)


def _one_row_a_line(path: Location, setting: str) -> bool:
    """Whether each line is to be read by itself, as the first two lines tell that are not blank."""
    with text_bytes(path, setting) as file:
        start = first_byte(file)
    if start in (b"", b"["):
        return not start or _is_conversation(path, setting)
    with text_bytes(path, setting) as file:
        lines = (data.removeprefix(_BOM).strip() for _, data, _ in bounded_lines(file))
        first, second = (next((line for line in lines if line), b"") for _ in range(2))
    if format_of(path.name) != "json":
        return first != b"{" or not second.startswith((b'"', b"}"))  # `jq .` writes one object on many lines.
    if _is_object(first):
        return bool(second)
    # A line that was cut off is followed by a whole one; the first line of one large object is not.
    return _is_object(second) and not first.endswith((b"[", b"{", b",", b":"))


def _is_object(line: bytes) -> bool:
    return not isinstance(parse_line(line, ObjectDecoder()), BadLine)


def _is_conversation(path: Location, setting: str) -> bool:
    """Whether the first line is a whole array of turns, and so a row rather than an array of rows."""
    with text_bytes(path, setting) as file:
        line = file.readline(_LONGEST_CONVERSATION).removeprefix(_BOM)
    row = parse_line(line, ObjectDecoder())
    turns = [] if isinstance(row, BadLine) else row.get(TURNS, [])
    return bool(turns) and all("role" in turn or "from" in turn for turn in turns)


def _document_records(path: Location, setting: str, root: str | None) -> Iterator[NumberedRecord]:
    with json_text(path, setting) as text:
        if root is None and text.peek() == "{":
            root = root_of(path, setting)
        while text.peek():
            yield from _rows(text, root)


def _rows(text: JsonText, root: str | None) -> Iterator[NumberedRecord]:
    """The rows of the value at the position of `text`: a row, an array of rows, or an object with `root`."""
    if text.peek() == "[":
        yield from _rows_of_entries(text)
    elif text.peek() == "{" and root is not None:
        yield from _rows_at(text, [] if root == "." else root.split("."))
    else:
        yield _row(text)


def _rows_at(text: JsonText, keys: list[str]) -> Iterator[NumberedRecord]:
    if not keys:
        yield from _rows_of_entries(text)
        return
    found = []
    for key in text.members():
        found.append(key)
        if key == keys[0]:
            yield from _rows_at(text, keys[1:])
        else:
            text.skip()
    if keys[0] not in found:
        raise ValueError(f"`root` names {keys[0]!r}, which is none of the keys {found[:20]}")


def _rows_of_entries(text: JsonText) -> Iterator[NumberedRecord]:
    """The items of an array, or the values of an object, each a row."""
    if text.peek() not in "[{":
        raise ValueError("`root` names neither an array nor an object")
    for _ in text.items() if text.peek() == "[" else text.members():
        text.peek()
        yield _row(text)


def _row(text: JsonText) -> tuple[int, Record | BadLine]:
    line = text.line
    return line, text.row()
