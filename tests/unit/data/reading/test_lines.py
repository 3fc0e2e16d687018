"""Lines that are too long: rejected with their number, in little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from hpt_core.config import PromptSource
from hpt_core.data.reading.lines import MAX_LINE, bounded_lines, first_byte
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import read_rows

GOOD = {"problem": "1+1", "answer": "2"}


@pytest.mark.parametrize("last", [b"", b"\n"])
def test_line_numbers_and_sizes(last: bytes) -> None:
    data = b"a\n\n" + b"b" * MAX_LINE + b"\nc" + last
    lines = list(bounded_lines(BytesIO(data)))
    assert [number for number, _, _ in lines] == [1, 2, 3, 4]
    assert [size for _, _, size in lines] == [2, 1, MAX_LINE + 1, 1 + len(last)]
    assert lines[3][1] == b"c" + last


@pytest.mark.parametrize(
    ("data", "byte"),
    [(b"\xef\xbb\xbf \n[1]", b"["), (b'  {"a": 1}', b"{"), (b" " * 3_000_000 + b"[", b"["), (b" \n", b"")],
)
def test_first_byte(data: bytes, byte: bytes) -> None:
    assert first_byte(BytesIO(data)) == byte


@pytest.mark.parametrize("first", [True, False])
def test_a_line_of_200_mb_is_rejected_in_little_memory(jsonl: Callable[..., Path], first: bool) -> None:
    path = jsonl("rows.jsonl", *([] if first else [GOOD]))
    chunk = b'{"problem": "' + b"x" * (2**20 - 13)
    with path.open("ab") as file:
        for _ in range(200):
            file.write(chunk)
        file.write(b'"}\n{"problem": "1+1", "answer": "2"}\n')
    source = PromptSource(name="mine", file=str(path), answer_kind="exact")
    tracemalloc.start()
    *before, bad, good = read_rows(source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(before) == (not first) and isinstance(good, SourceRow) and good.line == (2 if first else 3)
    assert isinstance(bad, Reject)
    assert (bad.line, bad.reason) == (1 if first else 2, "line_too_long")
    assert f"{200 * 2**20 + 3} bytes" in bad.detail and bad.row.startswith('{"problem": "xxx')
    assert peak < 4 * MAX_LINE
