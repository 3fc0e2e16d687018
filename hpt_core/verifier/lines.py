"""Verification of JSON lines, for `hpt verify FILE.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, NotRequired, TypedDict

from hpt_core.files import ObjectDecoder
from hpt_core.types import Verdict
from hpt_core.verifier.worker import Item

if TYPE_CHECKING:
    # At run time it would import the configuration, which takes longer than judging a file.
    from hpt_core.protocols import Verifier

BATCH = 1024
"""Number of lines that are read before their verdicts are written."""

_FORM = 'write one {"response": ..., "gold": ..., "kind": ...} per line'


class LineVerdict(TypedDict):
    """The verdict on one line, as `hpt verify` writes it."""

    correct: bool
    extracted: str | None
    error: str | None
    score: NotRequired[float]
    """Of a kind that gives credit in part."""


def verify_lines(lines: Iterable[str | bytes], verifier: Verifier, name: str) -> Iterator[LineVerdict]:
    """One verdict for each line {"response", "gold", "kind"} of file `name`, in order.

    `gold` is a text, a number, or the object of a reasoning-gym entry. A line that cannot be read or judged
    gets an error that names file, line and remedy.
    """
    decoder, numbered = ObjectDecoder(), enumerate(lines, start=1)
    while batch := list(islice(numbered, BATCH)):
        items = [_item(line, decoder) for _, line in batch]
        verdicts = iter(verifier.verify([item for item in items if not isinstance(item, str)]))
        for (line_number, _), item in zip(batch, items, strict=True):
            verdict = Verdict(False, None, item) if isinstance(item, str) else next(verdicts)
            error = f"{name}:{line_number}: {verdict.error}" if verdict.error is not None else None
            line: LineVerdict = {"correct": verdict.correct, "extracted": verdict.extracted, "error": error}
            yield line if verdict.score is None else {**line, "score": verdict.score}


def _item(line: str | bytes, decoder: ObjectDecoder) -> Item | str:
    """(response, gold, kind), or a message that says what is wrong with the line."""
    try:
        text = line.decode("utf-8") if isinstance(line, bytes) else line
    except UnicodeDecodeError as e:
        return f"not UTF-8: {e.reason} at byte {e.start}; save the file as UTF-8"
    text = text.removeprefix("\ufeff").strip()
    if not text:
        return f"not JSON: the line is empty; {_FORM}"
    try:
        row = decoder.decode(text)
    except (ValueError, RecursionError) as e:
        return f"not JSON: {e}; {_FORM}"
    if not isinstance(row, dict):
        return f"not a JSON object; {_FORM}"
    if decoder.repeated is not None:
        return f"an object has the key {decoder.repeated!r} twice; give it once"
    if null := [key for key in ("response", "gold", "kind") if key in row and row[key] is None]:
        return f"{', '.join(null)} is null; {_FORM}"
    missing = [key for key in ("response", "gold", "kind") if row.get(key) is None]
    if missing:
        return f"no {', '.join(missing)}; {_FORM}"
    gold = row["gold"]
    if isinstance(gold, Decimal):
        gold = str(gold)
    elif isinstance(gold, dict) or (isinstance(gold, int | float) and not isinstance(gold, bool)):
        gold = json.dumps(gold, default=float)
    if not (isinstance(row["response"], str) and isinstance(gold, str) and isinstance(row["kind"], str)):
        return "response, gold and kind must be texts; quote them"
    return row["response"], gold, row["kind"]
