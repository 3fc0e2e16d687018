"""JSON: every row is read or counted as a reject, however the rows are laid out, and large files take
little memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hpt_core.data.reading.formats import records_of
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.errors import InputError

ROWS = [{"problem": f"{n}+1", "answer": str(n + 1)} for n in range(3)]
TEXT = json.dumps(ROWS)
LINES = "\n".join(json.dumps(row) for row in ROWS)
PRETTY = "\n".join(json.dumps(row, indent=2) for row in ROWS)

Answers = Callable[..., list[str]]
Read = Callable[..., list[SourceRow | Reject]]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "A.JSON"])
@pytest.mark.parametrize(
    ("text", "count"),
    [
        (TEXT, 3),
        (json.dumps(ROWS, indent=2), 3),
        (TEXT + TEXT, 6),  # cat a.json b.json
        (TEXT + "\n" + json.dumps(ROWS, indent=1) + "\n", 6),
        (TEXT + "\n" + PRETTY, 6),
        (LINES, 3),
        (LINES.replace("\n", "\r\n\r\n"), 3),
        ("\ufeff" + LINES, 3),
        ("\ufeff\n" + TEXT, 3),
        (PRETTY, 3),  # jq .
        (TEXT.replace("}]", "},]"), 3),
        ("[]", 0),
        ("", 0),
        ("\n\n", 0),
    ],
)
def test_every_row_is_read(tmp_path: Path, answers: Answers, name: str, text: str, count: int) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert answers(tmp_path / name) == (["1", "2", "3"] * 2)[:count]


@pytest.mark.parametrize(
    ("value", "root"),
    [
        ({"data": ROWS}, None),
        ({"version": "1.0", "data": ROWS, "n": 3, "by": {"us": [1]}}, None),
        ({"result": {"status": "ok", "rows": ROWS}}, None),
        ({"schema": {"fields": [{"name": "problem"}]}, "data": ROWS}, None),  # pandas, orient='table'
        ({"train": ROWS, "test": ROWS[:1]}, "train"),
        ({"test": ROWS[:1], "data": {"train": ROWS}}, "data.train"),
        ({"features": [{"name": "problem"}], "rows": ROWS}, "rows"),
        ({"a1": ROWS[0], "a2": ROWS[1], "a3": ROWS[2]}, "."),
        ({"items": {"a1": ROWS[0], "a2": ROWS[1], "a3": ROWS[2]}, "meta": {}}, "items"),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_rows_within_an_object(
    tmp_path: Path, answers: Answers, value: Any, root: str | None, indent: int | None
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value, indent=indent))
    assert answers(path, root=root) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ({"train": ROWS, "test": ROWS}, ["`root: train` or `root: test`", "'train', 'test'"]),
        ({"data": {"train": ROWS, "test": ROWS}}, ["`root: data.train` or `root: data.test`"]),
        ({"a1": ROWS[0], "a2": ROWS[1]}, ["`root: .` if each key has a row"]),
        (pd.DataFrame(ROWS).to_dict("list"), ["'problem', 'answer'", "orient='records', lines=True"]),
        (json.loads(pd.DataFrame(ROWS).to_json()), ["'problem', 'answer'", "orient='records', lines=True"]),
        (json.loads(pd.DataFrame(ROWS).to_json(orient="split")), ["orient='records', lines=True"]),
    ],
)
def test_an_object_that_may_be_read_in_several_ways_shows_the_keys(
    tmp_path: Path, read: Read, value: Any, parts: list[str]
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value))
    with pytest.raises(InputError) as raised:
        read(path)
    for part in [str(path), "'mine'", *parts]:
        assert part in str(raised.value)


def test_one_object_is_a_row(tmp_path: Path, read: Read, answers: Answers) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(ROWS[0] | {"steps": ["a", "b"], "meta": {"of": 1}}, indent=2))
    assert answers(path) == ["1"]
    turns = [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]
    path.write_text(json.dumps({"messages": turns}))
    (row,) = read(path, columns={"problem": "messages.0.content", "answer": "messages.1.content"})
    assert isinstance(row, SourceRow) and row.values == {"problem": "1+1", "answer": "2"}


@pytest.mark.parametrize(
    ("text", "root", "place", "message"),
    [
        ('{"data": [1], "data": [2]}', None, 1, "the key 'data' twice"),
        ('{"data": [1],\n "data": [2]}', "data", 2, "the key 'data' twice"),
        ('{"data": [1]}', "rows", 1, r"'rows', which is none of the keys \['data'\]"),
        ('{"data": 7}', "data", 1, "neither an array nor an object"),
        ('[{"problem": "a", "answer": "1"},\n {"problem": "b"', None, 2, "malformed JSON array"),
        ('[{"problem": "a", "answer": "1"}\n {"problem": "b"}]', None, 2, "wanted ','"),
        ('[{"problem": "a", "answer": "1"}]\n]', None, 2, "malformed JSON array"),
        ('{"data": [\n{"problem": "a", "answer": "1"},\n', None, 3, "malformed JSON object"),
        ('{\n"a": "\udcff"}', None, 2, "not UTF-8"),
        ("[" * 100_000, None, 1, "recursion"),
    ],
)
def test_a_fault_of_the_whole_text_names_its_line(
    tmp_path: Path, read: Read, text: str, root: str | None, place: int, message: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(InputError, match=rf"a\.json:{place}: .*{message}.*'mine'"):
        read(path, root=root)


def test_rows_of_an_array_are_rejected_one_by_one(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        '[{"problem": "a", "answer": "1"},\n {"problem": "a", "answer": "1", "answer": "2"},\n 7]'
    )
    first, twice, number = read(path)
    assert isinstance(first, SourceRow)
    assert isinstance(twice, Reject) and isinstance(number, Reject)
    assert (twice.line, twice.reason) == (2, "duplicate_key") and "'answer'" in twice.detail
    assert twice.row == '{"problem": "a", "answer": "1", "answer": "2"}'
    assert (number.line, number.reason) == (3, "not_an_object")


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_several_objects_with_rows_show_the_key(
    tmp_path: Path, read: Read, answers: Answers, name: str
) -> None:
    path = tmp_path / name
    path.write_text("\n".join(json.dumps({"data": ROWS}) for _ in range(2)))
    rows = read(path)
    assert [type(row) for row in rows] == [Reject, Reject]
    assert all(isinstance(row, Reject) and "write `root: data` beside `file`" in row.detail for row in rows)
    assert answers(path, root="data") == ["1", "2", "3"] * 2


def test_files_that_were_put_together_by_cat(tmp_path: Path, answers: Answers) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes((LINES + "\r\n").encode("utf-8-sig") * 2)
    assert answers(path) == ["1", "2", "3"] * 2


@pytest.mark.parametrize(
    ("number", "answer"),
    [
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("0.12345678901234567890123", "0.12345678901234567890123"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("2.50", "2.5"),
        ("1e400", "1E+400"),
        ("-0.1", "-0.1"),
    ],
)
def test_a_number_keeps_its_digits(tmp_path: Path, answers: Answers, number: str, answer: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'[{{"problem": "?", "answer": {number}}}]')
    assert answers(path) == [answer]


def test_the_first_line_of_a_file_of_lines_may_be_cut_off(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"problem": "a", "answer\n' + LINES)
    assert [type(row) for row in read(path)] == [Reject, SourceRow, SourceRow, SourceRow]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_large_array_takes_little_memory(tmp_path: Path, wrapped: bool) -> None:
    path = tmp_path / "a.json"
    row = json.dumps({"problem": "x" * 10_000, "answer": "\u00e9"}, ensure_ascii=False)
    with path.open("w", encoding="utf-8") as file:
        file.write('{"data": [' if wrapped else "[")
        file.write(",".join([row] * 5000))
        file.write("]}" if wrapped else "]")
    assert path.stat().st_size > 50_000_000
    tracemalloc.start()
    count = sum(1 for _ in records_of(str(path), "`file`"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 5000 and peak < (40_000_000 if wrapped else 16_000_000)


def test_root_is_for_json(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.csv").write_text("problem,answer\n1,2\n")
    with pytest.raises(InputError, match=r"a\.csv: `root` is for JSON files.*'mine'"):
        read(tmp_path / "a.csv", root="data")
