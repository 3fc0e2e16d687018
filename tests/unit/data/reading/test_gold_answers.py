"""Reference answers of data sets in files of every format, for `hpt verify --gold-check`."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpt_core.data.reading.gold_answers import read_golds
from hpt_core.errors import InputError

ROWS = [{"answer": "5", "kind": "exact"}, {"answer": "6", "kind": "exact"}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
def test_every_format_is_read_also_from_a_folder(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif name == "a.csv":
        path.write_text("answer,kind\n5,exact\n6,exact\n")
    elif name == "a.json":
        path.write_text(json.dumps(ROWS))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "README.md").write_text("no data")
    golds = read_golds(path, None)
    assert [(gold.answer, gold.kind) for gold in golds] == [("5", "exact"), ("6", "exact")]
    assert golds[1].where == (f"{path}:2" if name == "a.jsonl" else f"{path}, row 2")
    assert read_golds(tmp_path, None) == golds


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"answer": r"\frac{1}{2}"}, "math"),
        ({"gold": "2+3=<<2+3=5>>5 in all\n#### 5"}, "gsm8k"),
        ({"ground_truth": 12, "kind": "exact"}, "exact"),
        (
            {"final_answer": {"answer": "1", "metadata": {}}, "answer_kind": "reasoning_gym:gcd"},
            "reasoning_gym:gcd",
        ),
    ],
)
def test_the_kind_is_that_of_the_column_or_of_the_answer(
    tmp_path: Path, row: dict[str, object], kind: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row))
    assert [gold.kind for gold in read_golds(path, None)] == [kind]
    assert [gold.kind for gold in read_golds(path, "choice")] == ["choice"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"answer": "1"}\n{"answer": "\xff"}\n', "a.jsonl:2: not_utf8"),
        ("a.json", b'[{"answer":\n "\xff"}]', "a.json:2: not UTF-8"),
        ("a.jsonl", b'{"answer": "1"}\n\n{', "a.jsonl:3: malformed_json"),
        ("a.json", b'[\n{"answer": "1"},\n{', "a.json:3: malformed JSON"),
        ("a.json", b'{\n"answer": "1"', "a.json:2: malformed JSON object"),
        (
            "a.json",
            b'{"answer": "1"}\n{"answer": "2"',
            "a.json:2: malformed_json: .*give an array of objects",
        ),
        ("a.jsonl", b"[1]", "a.jsonl:1: not_an_object"),
        ("a.jsonl", b"7", "a.jsonl:1: not_an_object"),
        ("a.jsonl", b'{"problem": "?"}', "a.jsonl:1: no text in column answer"),
        ("a.jsonl", b'{"problem": "?", "answer": null}', "a.jsonl:1: 'answer' is null"),
        ("a.json", b'[{"problem": "?"}]', "a.json, row 1: no text in column answer"),
        ("a.parquet", b"PAR", "not a readable parquet file"),
        ("a.csv", b"answer,answer\n1,2", "a.csv:1: two columns are named 'answer'"),
        ("a.csv", b"answer\n1,2", "a.csv:2: malformed_csv"),
        ("a.txt", b"answer", "neither JSON, CSV nor parquet"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_golds(tmp_path / name, None)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        read_golds(tmp_path / "none.json", None)
