"""JSON values that are rows: objects whose keys are all kept, or the reason why a value is no row."""

from __future__ import annotations

from typing import Any

from hpt_core.data.reading.records import BadLine, Record
from hpt_core.files import ObjectDecoder

TURNS = "turns"
"""The column of a row that is a list of objects, which is a conversation (Open-Reasoner-Zero)."""


def as_row(value: Any, repeated: str | None, text: str) -> Record | BadLine:
    """A decoded value as a row; `text` is what the quarantine shows of it.

    repeated: `ObjectDecoder.repeated` after the value was decoded.
    """
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        value = {TURNS: value}
    if not isinstance(value, dict):
        return BadLine("not_an_object", f"a JSON {type(value).__name__}, not an object", text)
    if repeated is not None:
        return BadLine("duplicate_key", f"an object has the key {repeated!r} twice; give it once", text)
    return value


def parse_line(data: bytes, decoder: ObjectDecoder) -> Record | BadLine:
    """The object that a line of JSONL holds."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        shown = data.decode("utf-8", errors="replace").strip()
        return BadLine("not_utf8", f"byte {error.start + 1} of the line: {error.reason}", shown)
    try:
        value = decoder.decode(text)
    except (ValueError, RecursionError) as error:
        text = text.strip()
        return BadLine("malformed_json", f"{error}{_hint(text, str(error))}", text)
    return as_row(value, decoder.repeated, text)


def _hint(text: str, error: str) -> str:
    """What a line that is no JSON looks like, for the cases that are common."""
    if "\0" in text:
        return "; the line has NUL bytes, as after a crash while it was written"
    if text.endswith("},"):
        return "; no comma belongs between lines"
    if error.startswith("Extra data"):
        return "; a line holds one object"
    if text.startswith("{") and not text.endswith("}"):
        return "; the line ends within its object, as if it were cut off"
    return ""
