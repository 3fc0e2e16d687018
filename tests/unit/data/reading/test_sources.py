"""Sources: each row is read or rejected with file and line; an unusable source raises with the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpt_core.config import ExpertSource, PromptSource
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import read_rows
from hpt_core.errors import InputError

GOOD = {"problem": "1+1", "answer": "2"}


def prompts(path: Path | str, **keys: Any) -> PromptSource:
    return PromptSource(name="mine", file=str(path), answer_kind="exact", **keys)


def read(source: PromptSource | ExpertSource) -> list[SourceRow | Reject]:
    return list(read_rows(source))


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        (b'{"problem": "1+1", "answer"', "malformed_json", "column"),
        (b'{"problem": "caf\xe9", "answer": "2"}', "not_utf8", "byte 17"),
        (b'["1+1", "2"]', "not_an_object", "list"),
        (b'{"problem": "1+1"}', "missing_column", "'answer'"),
        (b'{"problem": "1+1", "answer": null}', "missing_column", "no 'answer' (answer): it is null"),
        (b'{"problem": "1+1", "answer": "2", "answer": "3"}', "duplicate_key", "'answer' twice"),
        (b'{"problem": "1+1", "answer": "2", "of": [{"a": 1, "a": 1}]}', "duplicate_key", "'a' twice"),
        (b'{"problem": "1+1", "answer": "2"},', "malformed_json", "no comma"),
        (b'{"problem": "1+1", "answer": "2', "malformed_json", "cut off"),
        (b"\0" * 4096, "malformed_json", "NUL"),
        (b'{"problem": "1+1", "answer": ' + b"1" * 5000 + b"}", "malformed_json", "4300 digits"),
        (b'{"problem": "1+1", "answer": Infinity}', "wrong_type", "inf"),
        (b'{"problem": 7, "answer": "2"}', "wrong_type", "int"),
        (b'{"problem": "1+1", "answer": true}', "wrong_type", "bool"),
        (b'{"problem": "1+1", "answer": NaN}', "wrong_type", "nan"),
        (b'{"problem": "\\ud800", "answer": "2"}', "not_unicode", "surrogate"),
        (b'{"a":' * 200_000, "malformed_json", "recursion"),
    ],
)
def test_a_bad_line_is_rejected_with_its_number_and_does_not_affect_the_others(
    jsonl: Callable[..., Path], line: bytes, reason: str, detail: str
) -> None:
    path = jsonl("rows.jsonl", GOOD, line, GOOD)
    first, bad, last = read(prompts(path))
    assert isinstance(first, SourceRow) and isinstance(last, SourceRow)
    assert (first.line, last.line, last.values) == (1, 3, GOOD)
    assert isinstance(bad, Reject)
    assert (bad.file, bad.line, bad.reason) == (str(path), 2, reason)
    assert detail in bad.detail
    row = bad.quarantine("curate")
    row["row"].encode()
    assert 0 < len(row["row"]) <= 2000


def test_blank_lines_are_no_rows_but_count_as_lines(jsonl: Callable[..., Path]) -> None:
    rows = read(
        prompts(jsonl("rows.jsonl", b"\xef\xbb\xbf" + b'{"problem": "a", "answer": 0}', b"", b"  ", GOOD))
    )
    assert [(row.line, row.values["answer"]) for row in rows if isinstance(row, SourceRow)] == [
        (1, "0"),
        (4, "2"),
    ]
    assert len(rows) == 2


def test_columns_reach_into_objects(jsonl: Callable[..., Path]) -> None:
    path = jsonl(
        "experts.jsonl",
        {"question": "q", "big": {"solution": "s", "is_correct": False}},
        {"question": "q", "big": "flat"},
        {"question": "q", "big": {"solution": "s", "is_correct": "yes"}},
    )
    columns = {"problem": "question", "response": "big.solution", "keep": "big.is_correct"}
    source = ExpertSource(name="t", kind="teacher", file=str(path), columns=columns)
    good, flat, untyped = read(source)
    assert isinstance(good, SourceRow) and good.values == {"problem": "q", "response": "s", "keep": False}
    assert isinstance(flat, Reject) and (flat.reason, flat.line) == ("missing_column", 2)
    assert isinstance(untyped, Reject) and (untyped.reason, untyped.line) == ("wrong_type", 3)


def test_columns_reach_into_lists(jsonl: Callable[..., Path]) -> None:
    messages = [{"role": "system", "content": "Think."}, {"role": "user", "content": "1+1"}]
    path = jsonl(
        "chats.jsonl",
        {"prompt": messages, "reward_model": {"ground_truth": "2"}},
        {"prompt": [], "reward_model": {"ground_truth": "2"}},
        {"prompt": "1+1", "reward_model": {"ground_truth": "2"}},
    )
    for index, text in (("-1", "1+1"), ("0", "Think."), ("1", "1+1"), ("-2", "Think.")):
        columns = {"problem": f"prompt.{index}.content", "answer": "reward_model.ground_truth"}
        good, empty, flat = read(prompts(path, columns=columns))
        assert isinstance(good, SourceRow) and good.values == {"problem": text, "answer": "2"}
        for bad in (empty, flat):
            assert isinstance(bad, Reject) and bad.reason == "missing_column"
    for beyond in ("2", "-3", "+1", "1_0", ""):
        first = read(prompts(path, columns={"problem": f"prompt.{beyond}.content"}))[0]
        assert isinstance(first, Reject) and first.reason == "missing_column"


def test_limit_counts_rejected_rows_too(jsonl: Callable[..., Path]) -> None:
    rows = read(prompts(jsonl("rows.jsonl", GOOD, b"{", GOOD, GOOD), limit=3))
    assert [type(row) for row in rows] == [SourceRow, Reject, SourceRow]


def test_rows_of_a_json_array_have_the_line_on_which_they_begin(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    path.write_text(
        '[\n  {\n "problem": "a",\n "answer": "1"\n },\n\n 7,\n {"problem": "b", "answer": "2"}\n]\n'
    )
    rows = read(prompts(path))
    assert [(type(row), row.line) for row in rows] == [(SourceRow, 2), (Reject, 7), (SourceRow, 8)]
    path.write_text('[\n {"problem": "a", "answer": "1"},\n {"problem": }\n]')
    with pytest.raises(InputError, match=r"test\.json:3: malformed JSON array.*JSONL"):
        read(prompts(path))


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'\xef\xbb\xbfproblem,answer\n"two\nlines, one comma",2\n1+1\n3,4,5\n')
    good, short, long = read(prompts(path))
    assert isinstance(good, SourceRow) and (good.line, good.values["problem"]) == (3, "two\nlines, one comma")
    assert isinstance(short, Reject) and (short.line, short.reason) == (4, "missing_column")
    assert isinstance(long, Reject) and (long.line, long.reason) == (5, "malformed_csv")
    assert "['5']" in long.detail
    for data, detail in (
        (b"problem,answer\ncaf\xe9,2\n", "utf-8"),
        (b'problem,answer\n"a"b,2\n', "expected"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=rf"rows\.csv: not readable as CSV.*{detail}.*'mine'"):
            read(prompts(path))


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"problem": ["a", None], "answer": [1, 2]}), path)
    good, bad = read(prompts(path))
    assert isinstance(good, SourceRow) and good.values == {"problem": "a", "answer": "1"}
    assert isinstance(bad, Reject) and (bad.line, bad.reason) == (2, "missing_column")
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"rows\.parquet: not a readable parquet file.*'mine'"):
        read(prompts(path))


@pytest.mark.parametrize("name", ["absent.jsonl", "rows.txt", "."])
def test_an_unusable_file_is_named_with_its_key(tmp_path: Path, name: str) -> None:
    (tmp_path / "rows.txt").write_text("problem,answer\n")
    with pytest.raises(InputError) as raised:
        read(prompts(tmp_path / name))
    for part in (str(tmp_path / name), "`file` of source 'mine'", "params.yaml"):
        assert part in str(raised.value)


def test_an_unknown_column_name_is_refused(jsonl: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"'mine'.*'question'.*'problem'"):
        read(prompts(jsonl("rows.jsonl", GOOD), columns={"question": "problem"}))


def test_an_error_of_the_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    source = PromptSource(name="mine", hub="nobody/nothing", answer_kind="exact", revision="abc")
    with pytest.raises(
        InputError, match=r"hub:nobody/nothing.*'mine' in params.yaml.*HF_HUB_OFFLINE.*`file`"
    ):
        read(source)


def test_hub_rows_come_through_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    calls = []

    def load(*args: Any, **kwargs: Any) -> Any:
        calls.append((args, kwargs))
        return datasets.Dataset.from_list([{"question": "q", "answer": "1"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    columns = {"problem": "question"}
    source = PromptSource(
        name="g",
        hub="openai/gsm8k",
        subset="main",
        split="test",
        answer_kind="gsm8k",
        revision="r",
        columns=columns,
    )
    (row,) = read(source)
    assert isinstance(row, SourceRow) and (row.where, row.values["problem"]) == ("hub:openai/gsm8k:1", "q")
    assert calls == [(("openai/gsm8k", "main"), {"split": "test", "revision": "r"})]


def test_the_seed_determines_the_rows_of_a_reasoning_gym_task() -> None:
    def task(**keys: Any) -> PromptSource:
        return PromptSource(**{"name": "sums", "reasoning_gym": "chain_sum", "size": 5, "seed": 3} | keys)

    rows = read(task())
    again = read(task())
    assert rows == again and len(rows) == 5
    assert rows != read(task(seed=400))
    for row in rows:
        assert isinstance(row, SourceRow)
        expression = row.values["problem"].rpartition(": ")[2].removesuffix(" =")
        assert eval(expression) == int(row.values["answer"])
    assert all(
        len(row.record["metadata"]["expression"].split()) == 3
        for row in read(task(options={"min_terms": 2, "max_terms": 2}))
    )  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"reasoning_gym:no_such.*'sums'"):
        read(task(reasoning_gym="no_such"))
    with pytest.raises(InputError, match=r"min_terms.*`options`"):
        read(task(options={"min_terms": 9, "max_terms": 2}))
    with pytest.raises(InputError, match=r"bogus.*`options`"):
        read(task(options={"bogus": 9}))
