"""Tables: the same bytes for the same rows, complete or unchanged files, errors with file and remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from hpt_core import tables
from hpt_core.errors import InputError
from hpt_core.types import Prompt

ROWS = [
    {"prompt_id": f"{i:016x}", "problem": "π ≤ 4?", "answer": str(i), "answer_kind": "exact"}
    | {"source": "s", "license": "mit"}
    for i in range(10)
]


def test_the_same_rows_give_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from hpt_core import tables\n"
        f"tables.write(Path({str(tmp_path / 'b.parquet')!r}), {ROWS!r}, tables.PROMPTS)"
    )
    tables.write(tmp_path / "a.parquet", ROWS, tables.PROMPTS)
    subprocess.run(
        [sys.executable, "-c", script], check=True, env={"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    )
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert tables.read(tmp_path / "a.parquet", tables.PROMPTS) == ROWS


def test_more_rows_than_a_row_group_keep_their_order(tmp_path: Path) -> None:
    count = tables.ROW_GROUP * 2 + 3
    rows = (
        {"prompt_id": str(i), "samples": 8, "solved": i % 9, "pass_rate": i % 9 / 8} for i in range(count)
    )
    assert tables.write(tmp_path / "p.parquet", rows, tables.PASS_RATES) == count
    back = tables.read(tmp_path / "p.parquet")
    assert [row["prompt_id"] for row in back] == [str(i) for i in range(count)]


def test_rollouts_keep_tokens_and_float32_logprobs(tmp_path: Path) -> None:
    row = {
        "prompt_id": "a",
        "sample": 1,
        "step": 2,
        "response": "x",
        "token_ids": [5, 6],
        "logprobs": [-0.5, -1.25],
        "reward": 1.0,
        "finish_reason": "stop",
        "policy": "h",
    }
    tables.write(tmp_path / "r.parquet", [row], tables.ROLLOUTS)
    assert tables.read(tmp_path / "r.parquet", tables.ROLLOUTS) == [row]


@pytest.mark.parametrize("change", [{"extra": 1}, {"answer": None}])
def test_a_row_that_is_not_of_the_schema_is_refused_and_the_old_file_stays(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "p.parquet"
    tables.write(path, ROWS, tables.PROMPTS)
    before = path.read_bytes()
    with pytest.raises((ValueError, pa.ArrowException)):
        tables.write(path, [*ROWS, ROWS[0] | change], tables.PROMPTS)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["p.parquet"]


def test_a_missing_column_is_refused_rather_than_filled_with_nulls(tmp_path: Path) -> None:
    row = {name: value for name, value in ROWS[0].items() if name != "license"}
    with pytest.raises(ValueError, match="columns"):
        tables.write(tmp_path / "p.parquet", [row], tables.PROMPTS)


@pytest.mark.parametrize(
    ("folder", "stage"),
    [
        ("prompts", "curate"),
        ("experts", "experts"),
        ("rollouts/base", "rollouts"),
        ("rollouts/mixed", "train@mixed"),
    ],
)
def test_a_missing_file_names_the_stage_that_makes_it(tmp_path: Path, folder: str, stage: str) -> None:
    path = tmp_path / folder / "x.parquet"
    with pytest.raises(InputError) as raised:
        tables.read(path)
    assert str(path) in str(raised.value)
    assert f"`dvc repro {stage}`" in str(raised.value)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts" / "train.parquet"
    path.parent.mkdir()
    path.write_text("problem,answer\n")
    with pytest.raises(InputError, match=r"train\.parquet: not a readable parquet.*dvc repro curate"):
        tables.read_prompts(path)
    tables.write(path, [{"prompt_id": "a", "samples": 1, "solved": 1, "pass_rate": 1.0}], tables.PASS_RATES)
    with pytest.raises(InputError, match=r"has columns .*solved.*dvc repro curate"):
        tables.read_prompts(path)


def test_columns_and_rows_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "prompts" / "train.parquet"
    tables.write(path, ROWS, tables.PROMPTS)
    chosen = tables.read(path, columns=["answer", "source"], filters=pc.field("answer") == "3")
    assert chosen == [{"answer": "3", "source": "s"}]
    assert tables.count_rows(path) == len(ROWS)
    with pytest.raises(InputError, match=r"has no columns \['verdict'\]; run `dvc repro curate`"):
        tables.read(path, columns=["answer", "verdict"])
    with pytest.raises(InputError, match=r"none\.parquet: not found; make it"):
        tables.count_rows(tmp_path / "none.parquet", remedy="make it")


def test_prompts_are_read_as_they_were_written(tmp_path: Path) -> None:
    prompts = [Prompt(**row) for row in ROWS]
    tables.write(tmp_path / "p.parquet", map(tables.as_row, prompts), tables.PROMPTS)
    assert tables.read_prompts(tmp_path / "p.parquet") == prompts
    rows = [tables.as_row(prompt) | {"benchmark": "b"} for prompt in prompts]
    tables.write(tmp_path / "b.parquet", rows, tables.BENCHMARKS)
    assert tables.read_benchmarks(tmp_path / "b.parquet") == {"b": prompts}
