"""Text and JSON files: complete or unchanged when written, errors with file and remedy when read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpt_core import files
from hpt_core.errors import InputError


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    files.write_json(path, {"b": 1, "a": [2.5]})
    assert path.read_text() == '{\n  "a": [\n    2.5\n  ],\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"a": float("nan")})
    with pytest.raises(KeyError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert files.read_json(path) == {"b": 1, "a": [2.5]}
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("data/prompts/report.json", "dvc repro curate"),
        ("data/experts/report.json", "dvc repro experts"),
        ("data/rollouts/base/forecast.json", "dvc repro rollouts"),
        ("data/rollouts/mixed/provenance.json", "dvc repro train@mixed"),
        ("metrics/train/mixed.jsonl", "dvc repro train@mixed"),
        ("metrics/eval/base.json", "dvc repro evaluate_base"),
        ("metrics/eval/mixed.json", "dvc repro evaluate@mixed"),
        ("metrics/compare.json", "dvc repro compare"),
        ("logs/timings/train@mixed.json", "dvc repro train@mixed"),
        ("elsewhere/file.json", "dvc repro"),
    ],
)
def test_a_missing_file_names_the_command_that_writes_it(tmp_path: Path, path: str, command: str) -> None:
    with pytest.raises(InputError) as raised:
        files.read_json(tmp_path / path)
    assert str(raised.value) == f"{tmp_path / path}: not found; run `{command}`"


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (files.read_json, '{"a": 1', r"compare\.json: not JSON .*; remove it and run `dvc repro compare`"),
        (files.read_json, "[1]", r"compare\.json: not a JSON object; remove it and run"),
        (files.read_json_lines, '{"a": 1}\n\n{"a"', r"compare\.json:3: not JSON .*; remove it and run"),
        (files.read_json_lines, "{}\n[1]", r"compare\.json:2: not a JSON object; remove it and run"),
        (files.read_steps, '{"step": 1}\n{"loss": 1}', r"compare\.json:2: not the metrics of a step .*step"),
        (files.read_steps, '{"step": "one"}', r"compare\.json:1: not the metrics of a step .*one"),
        (files.read_steps, "", r"compare\.json: no steps; remove it and run"),
    ],
)
def test_a_damaged_file_names_line_and_remedy(
    tmp_path: Path, read: Callable[[Path], Any], text: str, message: str
) -> None:
    path = tmp_path / "metrics/compare.json"
    files.write_text(path, text)
    with pytest.raises(InputError, match=message):
        read(path)


def test_a_file_that_is_not_utf8_is_refused_with_the_callers_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"a\.json: not UTF-8 .*; copy it again$"):
        files.read_json(path, remedy="copy it again")


def test_lines_end_at_newlines_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    files.write_text(path, '{"step": 1, "text": "a\u2028b"}\n{"step": 2.0}\n')
    assert files.read_steps(path) == [{"step": 1, "text": "a\u2028b"}, {"step": 2}]
