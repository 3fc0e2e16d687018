"""The contract of a source: it is refused before the rest is read, with file, row, column and remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpt_core import tables
from hpt_core.config import CurateConfig, PromptSource
from hpt_core.data.curation.contract import check_sources
from hpt_core.data.curation.pipeline import curate
from hpt_core.errors import InputError

Lines = Callable[..., Path]
GOOD = {"problem": "1+1", "answer": "2"}


def source(path: Path, name: str = "mine", **more: Any) -> PromptSource:
    return PromptSource(**{"name": name, "file": str(path), "answer_kind": "exact"} | more)


def config(train: list[PromptSource], benchmark: list[PromptSource]) -> CurateConfig:
    return CurateConfig(train=train, benchmarks={"bench": benchmark}, dev_size=1, max_problem_chars=100)


@pytest.fixture
def benchmark(jsonl: Lines) -> list[PromptSource]:
    return [source(jsonl("bench.jsonl", {"problem": "Capital of France?", "answer": "Paris"}), "bench")]


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ({"question": "1+1", "answer": "2"}, ["missing_column", "'problem'", "'question'", "`columns`"]),
        ({"problem": 7, "answer": "2"}, ["wrong_type", "'problem'", "int", "convert the column"]),
        ({"problem": "1+1", "answer": [2]}, ["wrong_type", "'answer'", "list"]),
        (b'{"problem": "caf\xe9", "answer": "2"}', ["not_utf8", "byte 17", "UTF-8"]),
        (b"1+1\t2", ["malformed_json", "one JSON object a line"]),
        (b'["1+1", 2]', ["not_an_object", "one JSON object a line"]),
    ],
)
def test_a_source_without_a_usable_row_is_refused(
    jsonl: Lines, benchmark: list[PromptSource], row: Any, parts: list[str]
) -> None:
    path = jsonl("rows.jsonl", *[row] * 30)
    if row == b'["1+1", 2]':
        path.write_bytes(b"7\n" + path.read_bytes())  # Without this line the file would be read as one array.
    with pytest.raises(InputError) as raised:
        check_sources(config([source(path)], benchmark))
    for part in [f"{path}:1", "curate.train, source 'mine'", "none of the first 30 rows", *parts]:
        assert part.replace("30 rows", "") in str(raised.value), part


def test_a_single_bad_row_is_quarantined(jsonl: Lines, benchmark: list[PromptSource], tmp_path: Path) -> None:
    path = jsonl("rows.jsonl", {"question": "1+1"}, b"{", GOOD, {"problem": "2+2", "answer": "4"})
    assert check_sources(config([source(path)], benchmark)) == {}
    report = curate(config([source(path)], benchmark), 0, tmp_path / "out")
    dropped = report["sources"]["train"]["mine"]["dropped"]
    assert dropped == {"malformed_json": 1, "missing_column": 1}


def test_one_error_names_all_unusable_sources(jsonl: Lines, tmp_path: Path) -> None:
    table = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"problem": ["a", "b"], "solution": ["1", "2"]}), table)
    empty = jsonl("empty.jsonl")
    bad = source(jsonl("bad.jsonl", {"text": "x"}), "bad")
    with pytest.raises(InputError) as raised:
        check_sources(config([bad, source(table, "table")], [source(empty, "empty")]))
    lines = str(raised.value).splitlines()
    assert len(lines) == 3
    assert "source 'bad'" in lines[0] and "bad.jsonl:1" in lines[0]
    assert "source 'table'" in lines[1] and "rows.parquet:1" in lines[1] and "'solution'" in lines[1]
    assert "curate.benchmarks.bench, source 'empty'" in lines[2] and "no rows" in lines[2]


def test_answers_of_another_kind_are_refused(jsonl: Lines, benchmark: list[PromptSource]) -> None:
    rows = [{"problem": f"{n}+1", "answer": f"it is about {n}, or so"} for n in range(20)]
    with pytest.raises(InputError, match=r"rows\.jsonl:1: .*first 20 rows.*`answer_kind` \(now gsm8k\)"):
        check_sources(config([source(jsonl("rows.jsonl", *rows), answer_kind="gsm8k")], benchmark))
    few = source(jsonl("few.jsonl", *rows[:19]), answer_kind="gsm8k")
    assert check_sources(config([few], benchmark)) == {}


def test_unused_columns_are_named(jsonl: Lines, benchmark: list[PromptSource]) -> None:
    row = {"question": "1+1", "meta": {"answer": "2", "level": 3}, "solution": "...", "tags": []}
    columns = {"problem": "question", "answer": "meta.answer"}
    unused = check_sources(config([source(jsonl("rows.jsonl", row, GOOD), columns=columns)], benchmark))
    assert unused == {"train": {"mine": ["solution", "tags"]}}


def test_the_check_runs_first(jsonl: Lines, benchmark: list[PromptSource], tmp_path: Path) -> None:
    """The error is raised before the rest of any source is read, and before a file is written."""
    good = jsonl("good.jsonl", *[{"problem": f"{n}+1", "answer": str(n + 1)} for n in range(500)])
    bad = jsonl("bad.jsonl", {"text": "x"})
    with pytest.raises(InputError, match=r"bad\.jsonl:1"):
        curate(config([source(good), source(bad, "bad")], benchmark), 0, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_references_that_no_response_can_be_compared_with_are_quarantined_by_line(
    jsonl: Lines, benchmark: list[PromptSource], tmp_path: Path
) -> None:
    answers = [
        "Induction.",
        "42",
        "proof",
        "notfound",
        "nan",
        "N/A",
        "Proof. Let $n = 2k$; then $n^2$ is even.",
        "7",
    ]
    rows = [{"problem": f"Is claim {n} true?", "answer": answer} for n, answer in enumerate(answers)]
    path = jsonl("rows.jsonl", *rows)
    report = curate(config([source(path, answer_kind="math")], benchmark), 0, tmp_path)
    counts = report["sources"]["train"]["mine"]
    assert (counts["in"], counts["kept"], counts["dropped"]) == (8, 2, {"unverifiable_answer": 6})
    quarantine = [row for row in tables.read(tmp_path / "quarantine.parquet") if row["source"] == "mine"]
    assert [(row["file"], row["line"]) for row in quarantine] == [(str(path), n) for n in (1, 3, 4, 5, 6, 7)]
    assert all(repr(answers[row["line"] - 1][:20])[:-1] in row["detail"] for row in quarantine)
