"""The gold check: whether the verifier accepts the reference answers of a data set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpt_core.data.reading.gold_answers import read_golds
from hpt_core.verifier import VerifierPool
from hpt_core.verifier.gold_check import refusals
from pipelines.cli import main


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_answers_are_judged_alone_boxed_and_in_their_solution(tmp_path: Path) -> None:
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


def test_the_command_prints_each_refusal_and_sets_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(tmp_path / "good.jsonl", [{"answer": "5"}])
    bad = write(tmp_path / "bad.jsonl", [{"answer": "5"}, {"answer": "{"}])
    assert main.main(["verify", "--gold-check", str(good)]) == 0
    assert main.main(["verify", "--gold-check", str(good), str(bad)]) == 1
    assert f"{bad}:2: math answer '{{' alone" in capsys.readouterr().out
