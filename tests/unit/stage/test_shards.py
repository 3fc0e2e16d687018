"""Shards hold complete parts, and only for the run that made them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shutil import copy

import pytest

from hpt_core import tables
from hpt_core.errors import CheckpointError
from hpt_core.fingerprint import file_hash
from hpt_core.types import Prompt
from pipelines.stage import progress
from pipelines.stage.progress import ProgressBar
from pipelines.stage.shards import Part, ShardRow, Shards, run_inputs

PROMPTS = [Prompt(f"p{i}", f"{i} =", "1", "exact", "made", "mit") for i in range(5)]


def row(prompt: Prompt, sample: int) -> ShardRow:
    return {
        "benchmark": "made",
        "prompt_id": prompt.prompt_id,
        "source": "made",
        "sample": sample,
        "response": f"{prompt.problem} {sample}",
        "extracted": None,
        "correct": bool(sample),
        "finish_reason": "stop",
        "n_tokens": 7,
    }


class Work:
    """Parts of two prompts with two samples each; it records which parts it made, and can fail at one."""

    def __init__(self, breaks: int | None = None) -> None:
        self.made: list[int] = []
        self.breaks = breaks
        cuts = [PROMPTS[:2], PROMPTS[2:4], PROMPTS[4:]]
        self.parts = [Part(cut, 2, partial(self.make, i, cut)) for i, cut in enumerate(cuts)]

    def make(self, number: int, prompts: Sequence[Prompt]) -> list[ShardRow]:
        if number == self.breaks:
            raise KeyboardInterrupt
        self.made.append(number)
        return [row(prompt, sample) for prompt in prompts for sample in range(2)]


ALL_ROWS = [row(prompt, sample) for prompt in PROMPTS for sample in range(2)]


def shards(root: Path, seed: int = 1) -> Shards:
    return Shards(root / "kept", {"seed": seed, "rollout": {"slots": 4}}, tables.EVALUATION)


def finish(run: Shards, work: Work) -> None:
    run.finish(work.parts, "made", lambda row: int(row["n_tokens"]))


@pytest.fixture
def half(tmp_path: Path) -> Shards:
    """A run that was interrupted in the last of three parts."""
    run = shards(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        finish(run, Work(breaks=2))
    return run


def test_an_interrupted_run_resumes(half: Shards, tmp_path: Path) -> None:
    again, work = shards(tmp_path), Work()
    finish(again, work)
    assert work.made == [2]
    assert list(again.rows(range(3))) == ALL_ROWS
    assert list(again.rows([1])) == ALL_ROWS[4:8]


def test_discard_removes_the_shards_of_all_runs(half: Shards, tmp_path: Path) -> None:
    other = shards(tmp_path, seed=2)
    finish(other, Work())
    other.discard()
    assert list(tmp_path.iterdir()) == [], "the shards of other runs as well"


def test_a_run_of_other_inputs_makes_every_part_and_names_the_input(
    half: Shards, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work()
    finish(shards(tmp_path, seed=2), work)
    assert work.made == [0, 1, 2]
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert message.startswith(f"{half.folder}: shards of a run with other seed are not used")


def truncated(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def with_four_other_bytes(path: Path, _: Path) -> None:
    """In the middle of the data, where parquet itself notices nothing."""
    text = bytearray(path.read_bytes())
    text[8:12] = bytes(byte ^ 1 for byte in text[8:12])
    path.write_bytes(text)


def of_other_prompts(path: Path, beside: Path) -> None:
    copy(beside, path)


def with_a_row_missing(path: Path, _: Path) -> None:
    tables.write(path, tables.read(path)[:-1], tables.EVALUATION)


def of_other_columns(path: Path, _: Path) -> None:
    tables.write(path, [], tables.PASS_RATES)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (truncated, "has other bytes than were written"),
        (with_four_other_bytes, "has other bytes than were written"),
        (of_other_prompts, "it has 4 rows of other prompts or samples"),
        (with_a_row_missing, "it has 3 rows of other prompts or samples"),
        (of_other_columns, "has columns "),
    ],
)
def test_a_shard_that_does_not_fit(half: Shards, tmp_path: Path, harm: object, words: str) -> None:
    path, beside = half.folder / "000001.parquet", half.folder / "000000.parquet"
    assert callable(harm)
    harm(path, beside)
    if harm not in (truncated, with_four_other_bytes):
        path.with_suffix(".sha256").write_text(f"{file_hash(path)}\n")
    work = Work()
    with pytest.raises(CheckpointError, match=f"{path}: .*{words}.*; remove the file to make its part anew"):
        finish(shards(tmp_path), work)
    assert work.made == []
    path.unlink()
    again = shards(tmp_path)
    finish(again, work)
    assert work.made == [1, 2] and list(again.rows(range(3))) == ALL_ROWS


def test_every_input_of_the_rows_is_in_the_fingerprint(tmp_path: Path) -> None:
    model, prompts, stage = tmp_path / "model", tmp_path / "prompts", tmp_path / "stage.py"
    model.mkdir()
    for path in (prompts, stage, model / "tokenizer.json", model / "model.safetensors"):
        path.write_text("one")

    def folder(seed: int = 1, weights: str = "w") -> str:
        parameters = {"seed": seed, "rollout": {"engine": "hf"}}
        inputs = run_inputs(parameters, weights, model, prompts, str(stage))
        return Shards(tmp_path, inputs, tables.EVALUATION).folder.name

    seen = {folder()}
    assert folder() in seen
    for other in (folder(seed=2), folder(weights="v")):
        assert other not in seen
        seen.add(other)
    for path in (prompts, stage, model / "tokenizer.json"):
        path.write_text("two")
        assert folder() not in seen, path
        seen.add(folder())
    (model / "model.safetensors").write_text("two")
    assert folder() in seen, "the hash of the weights stands for their file"


def test_the_rate_and_the_remaining_time_ignore_earlier_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    caplog.set_level(logging.INFO)
    with ProgressBar("made", 10, before=4) as bar:
        now[0] = 6.0
        bar.advance(2, 300)
        now[0] = 12.0
        bar.advance(2, 900, reward=0.25)
    assert [record.getMessage() for record in caplog.records] == [
        "made 6/10  6 s, 12 s left  50 tokens/s",
        "made 8/10  12 s, 6 s left  100 tokens/s  reward 0.25",
    ]
