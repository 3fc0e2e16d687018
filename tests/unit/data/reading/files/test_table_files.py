"""CSV, TSV, parquet and arrow: columns that are named twice are refused, and cells are kept whole."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from hpt_core.data.reading.formats import records_of
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.errors import InputError

ROWS = [{"problem": "a, b; c\n\td|e", "answer": "1"}, {"problem": '"x" é', "answer": "007"}]
FRAME = pd.DataFrame(ROWS)
EXCEL = FRAME.to_csv(index=False, sep=";", lineterminator="\r\n")
TABLE = pa.Table.from_pylist(ROWS)
TWICE = pa.table([["p"], ["1"], ["2"]], names=["problem", "answer", "answer"])

Answers = Callable[..., list[str]]
Read = Callable[..., list[SourceRow | Reject]]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.csv", lambda path: FRAME.to_csv(path, index=False)),
        ("index.csv", FRAME.to_csv),
        ("excel.csv", lambda path: path.write_bytes(EXCEL.encode("utf-8-sig"))),
        ("named.csv", lambda path: path.write_text("sep=|\n" + FRAME.to_csv(index=False, sep="|"))),
        ("tabs.csv", lambda path: FRAME.to_csv(path, index=False, sep="\t")),
        ("a.tsv", lambda path: FRAME.to_csv(path, index=False, sep="\t")),
        ("a.TSV", lambda path: FRAME.to_csv(path, index=False, sep="\t")),
        ("quoted.csv", lambda path: FRAME.to_csv(path, index=False, quoting=1)),
        ("padded.csv", lambda path: path.write_text("\n\n" + FRAME.assign(**{"": ""}).to_csv(index=False))),
        ("a.parquet", FRAME.to_parquet),
        ("pyarrow.parquet", lambda path: pq.write_table(TABLE, path, compression="zstd", row_group_size=1)),
        ("categories.parquet", lambda path: FRAME.astype("category").to_parquet(path)),
        ("a.feather", FRAME.to_feather),
        ("lz4.arrow", lambda path: pyarrow.feather.write_feather(TABLE, path, compression="lz4")),
        ("hub.parquet", lambda path: datasets.Dataset.from_pandas(FRAME).to_parquet(path)),
        ("hub.csv", lambda path: datasets.Dataset.from_pandas(FRAME).to_csv(path)),
        ("hub.jsonl", lambda path: datasets.Dataset.from_pandas(FRAME).to_json(path)),
        ("records.json", lambda path: FRAME.to_json(path, orient="records")),
        ("lines.json", lambda path: FRAME.to_json(path, orient="records", lines=True)),
        ("table.json", lambda path: FRAME.to_json(path, orient="table")),
        ("lines.jsonl.zst", lambda path: FRAME.to_json(path, orient="records", lines=True, compression=None)),
    ],
)  # fmt: skip
def test_what_other_tools_write(
    tmp_path: Path, read: Read, name: str, write: Callable[[Path], object]
) -> None:
    path = tmp_path / name
    write(path)
    if name.endswith(".zst"):
        path.write_bytes(pa.Codec("zstd").compress(path.read_bytes()))
    rows = read(path)
    assert [row.values for row in rows if isinstance(row, SourceRow)] == ROWS
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("name", "write", "place"),
    [
        ("a.csv", lambda path: path.write_text("problem,answer,answer\np,1,2\n"), "a.csv:1"),
        ("b.csv", lambda path: path.write_text("\nanswer;problem;answer\n1;p;2\n"), "b.csv:2"),
        ("a.tsv", lambda path: path.write_text("answer\tproblem\tanswer\n1\tp\t2\n"), "a.tsv:1"),
        ("a.parquet", lambda path: pq.write_table(TWICE, path), "a.parquet"),
        ("a.arrow", lambda path: pyarrow.feather.write_feather(TWICE, path), "a.arrow"),
    ],
)
def test_a_column_that_is_named_twice_is_refused(
    tmp_path: Path, read: Read, name: str, write: Callable[[Path], object], place: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError, match=rf"{place}: two columns are named 'answer'; rename one.*'mine'"):
        read(tmp_path / name)


def test_a_field_of_a_struct_that_is_named_twice_is_refused(tmp_path: Path, read: Read) -> None:
    twice = pa.StructArray.from_arrays([pa.array(["1"]), pa.array(["2"])], ["x", "x"])
    table = pa.table({"problem": ["p"], "answer": ["1"], "meta": pa.ListArray.from_arrays([0, 1], twice)})
    with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema) as stream:
        stream.write_table(table)
    with pytest.raises(InputError, match=r"a\.arrow: two columns are named 'x'"):
        read(tmp_path / "a.arrow")


def test_decimals_are_exact(tmp_path: Path, answers: Answers) -> None:
    values = [Decimal("1.50"), Decimal("0.12"), Decimal("123456789012345678.25")]
    pq.write_table(pa.table({"problem": ["a", "b", "c"], "answer": pa.array(values)}), tmp_path / "a.parquet")
    assert answers(tmp_path / "a.parquet") == ["1.50", "0.12", "123456789012345678.25"]


def test_cells_of_any_length(tmp_path: Path, answers: Answers, read: Read) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'problem,answer\n"{"x" * 5_000_000}",1\n{"y" * 200_000},2\n')
    assert answers(path) == ["1", "2"]
    path.write_text(f'problem,answer\n"{"x" * 17_000_000}",1\n')
    with pytest.raises(InputError, match=r"a\.csv: not readable as CSV.*from line 2: more than 16777216"):
        read(path)


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ("1+1", "missing_column", "1 cells under 2 columns: no ['answer']"),
        ("1+1,2,3", "malformed_csv", "cells beyond the last column: ['3']"),
        ("1+1,2\0", "malformed_csv", "NUL"),
    ],
)
def test_a_bad_row_is_rejected_alone(tmp_path: Path, read: Read, row: str, reason: str, detail: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"problem,answer\na,1\n{row}\nb,2,\n")
    first, bad, last = read(path)
    assert isinstance(first, SourceRow) and isinstance(last, SourceRow) and last.line == 4
    assert isinstance(bad, Reject) and (bad.line, bad.reason) == (3, reason) and detail in bad.detail


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'problem,answer\na,1\n"b,2\nc,3\n', "line 3: unexpected end of data"),
        (b'problem,answer\na,1\n"b"c,2\n', "line 3: .*expected after"),
        ("problem,answer\na,1\ncafé,2\n".encode("latin-1"), "line 3: byte 0xe9 is no utf-8"),
    ],
)
def test_a_fault_of_the_whole_file_names_the_row(
    tmp_path: Path, read: Read, data: bytes, message: str
) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(
        InputError, match=rf"a\.csv: not readable as CSV in UTF-8 \(the row from {message}.*'mine'"
    ):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "a.arrow"])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, read: Read, name: str) -> None:
    path = tmp_path / name
    table = pa.table({"problem": ["p"] * 10_000, "answer": [str(n) for n in range(10_000)]})
    if name == "a.parquet":
        pq.write_table(table, path)
    elif name == "a.feather":
        pyarrow.feather.write_feather(table, path)
    else:
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table, max_chunksize=1000)
    assert len(read(path)) == 10_000
    data = path.read_bytes()
    for size in (0, 3, len(data) // 2, len(data) - 8, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match=rf"{name}: not a readable .* file .*download it again.*'mine'"):
            read(path)


def test_compressed_tables_are_refused(tmp_path: Path, read: Read) -> None:
    FRAME.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").rename(tmp_path / "a.parquet.gz")
    with pytest.raises(InputError, match=r"a\.parquet\.gz: parquet in gzip; decompress it"):
        read(tmp_path / "a.parquet.gz")


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "a.arrow", "a.csv"])
def test_a_large_table_takes_little_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    table = pa.table({"problem": [f"{n}" + "x" * 2000 for n in range(25_000)], "answer": ["1"] * 25_000})
    if name == "a.parquet":
        pq.write_table(table, path, compression="none", use_dictionary=False)
    elif name == "a.feather":
        pyarrow.feather.write_feather(table, path, compression="uncompressed")
    elif name == "a.arrow":
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table, max_chunksize=1000)
    else:
        table.to_pandas().to_csv(path, index=False)
    assert path.stat().st_size > 50_000_000
    del table
    allocated = pa.total_allocated_bytes()
    tracemalloc.start()
    count = most = 0
    for _ in records_of(str(path), "`file`"):
        count += 1
        most = max(most, pa.total_allocated_bytes() - allocated)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 25_000
    assert peak < 16_000_000 and most < 16_000_000, (peak, most)
