"""Folders and patterns: all data files in the order of their names, and no file is left out unnoticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.errors import InputError

Answers = Callable[..., list[str]]
Read = Callable[..., list[SourceRow | Reject]]


def write(path: Path, *answers: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"problem": "?", "answer": answer}) + "\n" for answer in answers))
    return path


@pytest.fixture
def spark(tmp_path: Path) -> Path:
    """A folder as Spark writes it, with an empty part, a link, a partition, and files that hold no rows."""
    folder = tmp_path / "spark"
    write(folder / "part-00001.json", "b")
    write(folder / "part-00000.json", "a1", "a2")
    write(folder / "part-00002.json")
    write(folder / "year=2025" / "part-00000.json", "z")
    (folder / "part-00003.json").symlink_to(write(tmp_path / "elsewhere.json", "link"))
    for name in ("_SUCCESS", ".part-00000.json.crc", "_temporary/part-9.json", ".ipynb_checkpoints/a.json"):
        write(folder / name, "hidden")
    for name in ("README.md", "LICENSE", "LICENSE.txt", "dataset_infos.json", "x.lock", "sums.sha256"):
        write(folder / name, "note")
    return folder


@pytest.mark.parametrize("pattern", ["", "/", "/**/*.json", "/**"])
def test_a_folder_is_read_in_the_order_of_the_names(spark: Path, answers: Answers, pattern: str) -> None:
    assert answers(f"{spark}{pattern}") == ["a1", "a2", "b", "link", "z"]
    assert answers(f"{spark}/part-*.json") == ["a1", "a2", "b", "link"]
    assert answers(f"{spark}/part-0000[01].json") == ["a1", "a2", "b"]


def test_a_row_names_its_shard_and_line(spark: Path, read: Read) -> None:
    (spark / "part-00001.json").write_text('\n{"problem": "?", "answer": null}\n')
    rows = read(spark)
    places = [(Path(row.file).name, row.line) for row in rows]
    assert places[:3] == [("part-00000.json", 1), ("part-00000.json", 2), ("part-00001.json", 2)]
    assert isinstance(rows[2], Reject)
    assert rows[2].file == str(spark / "part-00001.json")
    assert rows[2].detail == "no 'answer' (answer): it is null"


def test_the_limit_counts_over_all_shards(spark: Path, answers: Answers) -> None:
    assert answers(spark, limit=3) == ["a1", "a2", "b"]


def test_a_pattern_without_a_folder(
    tmp_path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "b.jsonl", "b")
    write(tmp_path / "a.jsonl", "a")
    for name in ("*.jsonl", "./*.jsonl", ".", "./"):
        assert answers(name) == ["a", "b"]


def test_a_name_with_brackets_is_a_file(tmp_path: Path, answers: Answers) -> None:
    assert answers(write(tmp_path / "a[1].jsonl", "1")) == ["1"]
    assert answers(write(tmp_path / "of [2]" / "_a.jsonl", "2")) == ["2"]
    assert answers(write(tmp_path / "of [3]" / "a.jsonl", "3").parent) == ["3"]
    assert answers(write(tmp_path / ".cache" / "a.jsonl", "4").parent) == ["4"]


@pytest.mark.parametrize(
    ("names", "file", "parts"),
    [
        (["a.jsonl", "part-00000"], "", ["part-00000: no data file by its name", "**/*.jsonl"]),
        (["a.jsonl", "b.csv"], "", ["several formats (a.jsonl, b.csv)", "**/*.jsonl"]),
        (["rows.jsonl", "config.json"], "", ["several formats (config.json, rows.jsonl)"]),
        (["train-0.jsonl", "test-0.jsonl"], "", ["train-0.jsonl and test-0.jsonl", "**/*train*"]),
        (["train/a.jsonl", "validation/a.jsonl"], "", ["different splits", "rows/validation`"]),
        (["gsm_train.jsonl", "gsm_test.jsonl"], "/gsm_*.jsonl", ["different splits"]),
        (["a.jsonl", "a.jsonl.gz"], "", ["one file twice"]),
        (["README.md", ".a.jsonl"], "", ["no data file in this folder"]),
        (["a.jsonl"], "/*.csv", ["matches no data file"]),
        (["a.jsonl.dvc"], "/a.jsonl", ["dvc pull"]),
        (["a.jsonl"], "/b.jsonl", ["b.jsonl: no such file"]),
    ],
)
def test_what_cannot_be_told_is_an_error(
    tmp_path: Path, read: Read, names: list[str], file: str, parts: list[str]
) -> None:
    for name in names:
        write(tmp_path / "rows" / name, "1")
    with pytest.raises(InputError) as raised:
        read(f"{tmp_path}/rows{file}")
    for part in [str(tmp_path), *parts]:
        assert part in str(raised.value)


def test_shards_of_one_split_may_have_any_word(tmp_path: Path, answers: Answers) -> None:
    for name in (
        "train-00001-of-00002.jsonl",
        "train-00000-of-00002.jsonl",
        "extra.jsonl",
        "train_test.jsonl",
    ):
        write(tmp_path / "rows" / name, name[:10])
    assert answers(tmp_path / "rows") == ["extra.json", "train-0000", "train-0000", "train_test"]


def test_a_link_to_nothing_is_an_error(tmp_path: Path, read: Read) -> None:
    write(tmp_path / "rows" / "a.jsonl", "1")
    (tmp_path / "rows" / "b.jsonl").symlink_to(tmp_path / "blobs" / "gone")
    with pytest.raises(InputError, match=r"b\.jsonl: a link to nothing"):
        read(tmp_path / "rows")


def test_what_datasets_saves(tmp_path: Path, answers: Answers, read: Read) -> None:
    rows = datasets.Dataset.from_list([{"problem": "?", "answer": str(n)} for n in range(5)])
    rows.save_to_disk(tmp_path / "saved", num_shards=2)
    assert answers(tmp_path / "saved") == ["0", "1", "2", "3", "4"]
    # Results of map() that `datasets` keeps beside its tables hold the same rows once more.
    kept = tmp_path / "saved" / "cache-0123456789abcdef.arrow"
    kept.write_bytes((tmp_path / "saved" / "data-00000-of-00002.arrow").read_bytes())
    assert answers(tmp_path / "saved") == ["0", "1", "2", "3", "4"]
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "dict")
    with pytest.raises(InputError, match=r"different splits.*dict/train`"):
        read(tmp_path / "dict")
    assert answers(tmp_path / "dict" / "train") == ["0", "1", "2", "3", "4"]
