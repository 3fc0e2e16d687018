"""Compressed texts are read as a stream; a file that is cut off or no text is refused with the remedy."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from hpt_core.data.reading.formats import records_of
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.errors import InputError

Answers = Callable[..., list[str]]
Read = Callable[..., list[SourceRow | Reject]]


def arrow(kind: str) -> Callable[[bytes], bytes]:
    return lambda data: bytes(pa.Codec(kind).compress(data))


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": arrow("zstd"),
    ".lz4": arrow("lz4"),
}
COUNT = 20_000
LINES = [json.dumps({"problem": f"{n} + 1", "answer": str(n + 1)}) for n in range(COUNT)]
TEXTS = {
    ".jsonl": "\n".join(LINES),
    ".json": f'{{"data": [{",".join(LINES)}]}}',
    ".csv": "problem,answer\n" + "".join(f"{n} + 1,{n + 1}\n" for n in range(COUNT)),
}
ANSWERS = [str(n + 1) for n in range(COUNT)]


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("kind", TEXTS)
def test_compressed_texts(tmp_path: Path, answers: Answers, kind: str, suffix: str) -> None:
    path = tmp_path / f"rows{kind}{suffix}"
    data = TEXTS[kind].encode()
    path.write_bytes(COMPRESS[suffix](data))
    assert answers(path) == ANSWERS
    # `cat` of two compressed files, and what pigz and pzstd write, has several members.
    middle = len(data) // 2
    path.write_bytes(COMPRESS[suffix](data[:middle]) + COMPRESS[suffix](data[middle:]))
    assert answers(path) == ANSWERS
    unnamed = tmp_path / f"unnamed{kind}"
    unnamed.write_bytes(path.read_bytes())
    assert answers(unnamed) == ANSWERS


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("damage", ["cut", "last byte", "empty", "plain", "garbage after"])
def test_a_damaged_file_is_named_with_the_remedy(
    tmp_path: Path, read: Read, suffix: str, damage: str
) -> None:
    data = COMPRESS[suffix](TEXTS[".jsonl"].encode())
    damaged = {
        "cut": data[: len(data) // 2],
        "last byte": data[:-1],
        "empty": b"",
        "plain": TEXTS[".jsonl"].encode(),
        "garbage after": data + b"garbage after the end",
    }[damage]
    path = tmp_path / f"rows.jsonl{suffix}"
    path.write_bytes(damaged)
    if (suffix, damage) == (".xz", "garbage after"):
        assert len(read(path)) == COUNT  # xz takes it for padding; no row is lost.
        return
    with pytest.raises(InputError, match=rf"rows\.jsonl\{suffix}: .*copy.* again.*'mine'"):
        read(path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", '{"problem": "?", "answer": "1"}'.encode("utf-16"), r"a\.jsonl:1: .*UTF-16.*iconv"),
        ("a.csv", "problem,answer\n?,1".encode("utf-16-le"), r"a\.csv:1: .*UTF-16.*iconv"),
        ("a.tsv", "problem\tanswer\n?\t1".encode("utf-16-be"), r"a\.tsv:1: .*UTF-16.*iconv"),
        ("a.json.gz", gzip.compress("[]".encode("utf-16"), mtime=0), r"a\.json\.gz:1: .*UTF-16.*iconv"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("a.json", b"\n<!DOCTYPE HTML>\n<html>", "a web page"),
        ("a.csv", b"PK\x03\x04\x14\x00", "an Excel workbook"),
        ("a.json", b"PAR1\x15\x04", r"name it \.parquet"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, read: Read, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=f"{message}.*'mine'"):
        read(tmp_path / name)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_large_file_takes_little_memory(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.jsonl{suffix}"
    line = json.dumps({"problem": "x" * 1000, "answer": "1"}).encode() + b"\n"
    path.write_bytes(COMPRESS[suffix](line * 50_000))
    tracemalloc.start()
    assert sum(1 for _ in records_of(str(path), "`file`")) == 50_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16_000_000
