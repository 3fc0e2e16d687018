"""`hpt verify --gold-check`: what data sets say of themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpt_core.errors import InputError
from hpt_core.verifier import VerifierPool
from hpt_core.verifier.gold_check import read_golds, refusals
from pipelines.cli import main


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_alone_boxed_and_in_the_solution(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"problem": "?", "answer": r"\frac{1}{2}", "solution": r"so it is $\boxed{\frac12}$"},
        {"problem": "?", "answer": "7", "solution": r"so it is $\boxed{8}$"},
        {"question": "?", "answer": "2+3=<<2+3=5>>5 in all\n#### 5"},
        {"problem": "?", "answer": r"\frac{1}{2"},
        {"problem": "?", "answer": 12},
    ]
    golds = read_golds(write(tmp_path / "a.jsonl", rows), None)
    assert [gold.kind for gold in golds] == ["math", "math", "gsm8k", "math", "math"]
    with VerifierPool(1, 5.0) as pool:
        refused = refusals(golds, pool)
    assert [(r.gold.where.rpartition(":")[2], r.form, r.extracted) for r in refused] == [
        ("2", "in its solution", "8"),
        ("4", "alone", None),
        ("4", "boxed", None),
    ]
    assert "unequal" in refused[0].reason and "unbalanced" in refused[1].reason


def test_the_exit_status_and_every_exception(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good.jsonl", [{"answer": "5"}])
    bad = write(tmp_path / "bad.jsonl", [{"answer": "5"}, {"answer": "{"}])
    assert main.main(["verify", "--gold-check", str(good)]) == 0
    assert main.main(["verify", "--gold-check", str(good), str(bad)]) == 1
    assert f"{bad}:2: math answer '{{' alone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.jsonl", b'{"answer": "1"}\n{"answer": "\xff"}\n', "a.jsonl:2: not UTF-8"),
        ("a.json", b'[{"answer":\n "\xff"}]', "a.json:2: not UTF-8"),
        ("a.jsonl", b'{"answer": "1"}\n\n{', "a.jsonl:3: not JSON"),
        ("a.json", b"{}", "not a list"),
        ("a.jsonl", b"[1]", "a.jsonl:1: not an object"),
        ("a.jsonl", b'{"problem": "?"}', "a.jsonl:1: no text in column answer"),
        ("a.parquet", b"PAR", "not parquet"),
        ("a.csv", b"answer", "not one of"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_golds(tmp_path / name, None)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_golds(tmp_path / "none.json", None)
