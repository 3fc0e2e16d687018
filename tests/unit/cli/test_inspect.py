"""`hpt inspect` prints what a person needs to decide, in 100 columns, and an entry that can be pasted."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ruamel.yaml import YAML

from hpt_core.config import ExpertSource, PromptSource
from hpt_core.data.reading.records import SourceRow
from hpt_core.data.reading.sources import read_rows
from pipelines.cli.main import main
from pipelines.params.source_text import source_text
from tests.unit.data.inspection.items import MATH
from tests.unit.data.inspection.shapes import DAPO, PROMPTS
from tests.unit.data.inspection.shapes_of_demonstrations import DEMONSTRATIONS


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: Any) -> Path:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
        return path

    return write


def entries(printed: str) -> Iterator[dict[str, Any]]:
    """The entries among what was printed, as a YAML reader takes them."""
    lines = printed.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("    - name:")]
    for start in starts:
        end = next((n for n in range(start, len(lines)) if not lines[n].strip()), len(lines))
        (entry,) = YAML(typ="safe").load("\n".join(lines[start:end]))
        yield entry


def rows_of(name: str) -> list[Any]:
    shape = (PROMPTS | DEMONSTRATIONS)[name]
    return [shape.row(item) for item in shape.items]


def test_columns_rows_and_entries_in_a_hundred_columns(
    file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = file(*rows_of("open-r1/OpenR1-Math-220k"))
    assert main(["inspect", str(path)]) == 0
    printed = capsys.readouterr().out
    # A path is not broken, so that the entry can be pasted.
    assert max(len(line) for line in printed.splitlines() if str(path) not in line) <= 100
    assert "all 6 rows" in printed and "chat: user, assistant" in printed and "Row 3" in printed
    assert "Reads 6 of 6 rows; the verifier accepts 6 of 6 references." in printed
    assert "Reads 12 of 12 responses, of which `keep` drops 2." in printed
    assert "Of 10 judged by the references above, 6 are correct; `score` agrees on 10 of 10." in printed
    prompts, human, teacher = entries(printed)
    assert prompts["columns"] == {"problem": "problem", "answer": "answer"}
    assert (human["kind"], teacher["kind"]) == ("human", "teacher")
    assert human["name"] != teacher["name"]
    assert {prompts["license"], teacher["license"], teacher["author"]} == {"???"}


@pytest.mark.parametrize("name", PROMPTS | DEMONSTRATIONS)
def test_a_pasted_entry_reads_the_file(
    name: str, file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = file(*rows_of(name))
    assert main(["inspect", str(path)]) == 0
    for entry in entries(capsys.readouterr().out):
        if entry.get("answer_kind") == "???":
            continue  # The nearest entry of prompts, where there are no references.
        source = (ExpertSource if "kind" in entry else PromptSource)(**entry)
        read = [row for row in read_rows(source) if isinstance(row, SourceRow)]
        assert len(read) >= len(rows_of(name)) and all(row.values["problem"] for row in read)


def test_rows_that_are_not_read_and_answers_that_are_not_accepted_are_named(
    file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"problem": item.problem, "answer": item.answer} for item in MATH]
    rows[1]["answer"] = None
    assert main(["inspect", str(file(*rows, "{not JSON\n"))]) == 0
    printed = capsys.readouterr().out
    assert "line 7 is no row: malformed_json" in printed
    assert "Reads 5 of 7 rows; the verifier accepts 5 of 5 references." in printed
    assert "1 not read, missing_column: row 2: " in printed


def test_where_nothing_fits_the_nearest_entry_says_what_is_missing(
    file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pages = [{"text": f"{item.working} This is a page.", "id": f"p{item.number}x77"} for item in MATH]
    assert main(["inspect", str(file(*pages))]) == 1
    printed = capsys.readouterr().out
    assert "Not found: no column of problems" in printed
    (nearest,) = entries(printed)
    assert nearest["columns"] == {"problem": "text", "answer": "???"} and nearest["answer_kind"] == "???"


def test_references_that_only_a_model_stated_are_left_to_the_user(
    file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(file(*rows_of("allenai/tulu-3-sft-mixture")))]) == 0
    printed = capsys.readouterr().out
    assert "in messages state some, but a model may have written them." in " ".join(printed.split())
    experts, nearest = entries(printed)
    assert experts["columns"] == {"problem": "messages", "response": "messages"}
    assert nearest["columns"] == {"problem": "messages", "answer": "messages"}


def test_no_file_and_options_of_the_hub_for_a_file(
    file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "nowhere/rows.jsonl"]) == 2
    assert "nowhere/rows.jsonl" in capsys.readouterr().err
    assert main(["inspect", str(file({"problem": "1+1", "answer": "2"})), "--split", "test"]) == 2
    assert "--split" in capsys.readouterr().err


def test_a_set_of_the_hub_is_streamed_and_its_card_names_license_and_commit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[dict[str, Any]] = []

    def load(name: str, subset: str | None, **keys: Any) -> Iterator[dict[str, Any]]:
        calls.append({"name": name, "subset": subset, **keys})
        return ({"problem": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(10**9))

    card = SimpleNamespace(sha="0123abc", card_data=SimpleNamespace(license="apache-2.0"))
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_, **__: card)
    assert main(["inspect", "org/sums", "--subset", "main", "--rows", "20"]) == 0
    (entry,) = entries(capsys.readouterr().out)
    asked = {"name": "org/sums", "subset": "main", "split": "train", "revision": None}
    assert calls == [asked | {"streaming": True}]
    assert entry == {
        "name": "sums",
        "hub": "org/sums",
        "subset": "main",
        "revision": "0123abc",
        "answer_kind": "math",
        "license": "apache-2.0",
        "columns": {"problem": "problem", "answer": "answer"},
    }


@pytest.mark.parametrize(
    "keys",
    [
        {"name": "a", "columns": {"problem": {"read": "p", "unwrap": DAPO.replace("{}", "{problem}") * 2}}},
        {"name": "yes", "map": {"Yes": True, "no": False, "0": "A", "1.0": "B"}, "path": "a.*.b", "x": "- 1"},
        {"name": "#1", "columns": {"response": ["a" * 40, "b: c", "{d}\n\n{e?}", "?f", "g  " * 30]}},
        {"name": "ünï", "text": "spaces  kept " * 12 + "\ttab\n" + "no_space" * 20, "none": "null", "q": '"'},
    ],
)
def test_the_text_of_an_entry_is_the_entry(keys: dict[str, Any]) -> None:
    text = source_text(keys, {"name": "why"})
    assert YAML(typ="safe").load(text) == [keys]
    assert YAML(typ="rt").load(text) == [keys]
    assert "# why" in text
