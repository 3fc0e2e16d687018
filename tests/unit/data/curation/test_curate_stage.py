"""The stage `curate`: the files of the contract, byte for byte the same on a second run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpt_core import tables
from hpt_core.config import CurateConfig, DecontaminationConfig, PromptSource, VerifierConfig
from hpt_core.data.problems import overlap_key
from pipelines import curate


@pytest.fixture
def params(jsonl: Callable[..., Path]) -> Any:
    """Two reasoning-gym tasks and a file with two bad lines, under the keys that `curate` reads."""
    path = jsonl(
        "own.jsonl",
        {"problem": "Half of 144?", "answer": "#### 72"},
        b"{",
        {"problem": "Half of 144?", "answer": "#### 72"},
    )
    sums = {"reasoning_gym": "chain_sum", "license": "apache-2.0", "options": {"max_digits": 2}}
    words = {"reasoning_gym": "spell_backward", "license": "apache-2.0"}
    train = [
        PromptSource(name="sums", size=200, seed=1, **sums),
        PromptSource(name="words", size=100, seed=1, **words),
        PromptSource(name="own", file=str(path), answer_kind="gsm8k", license="mit"),
    ]
    # The seed is that of training, so the 20 problems of the benchmark are also training problems.
    benchmarks = {"sums": [PromptSource(name="held", size=20, seed=1, **sums)]}
    config = CurateConfig(train=train, benchmarks=benchmarks, dev_size=16, max_problem_chars=500)
    return SimpleNamespace(seed=0, curate=config, verifier=VerifierConfig())


def test_files_counts_and_disjoint_splits(params: Any, tmp_path: Path) -> None:
    out = tmp_path / "prompts"
    report = curate.run(params, out)
    train, dev = (tables.read_prompts(out / f"{name}.parquet") for name in ("train", "dev"))
    benchmark = tables.read_benchmarks(out / "benchmarks.parquet")["sums"]
    keys = [{overlap_key(prompt.problem) for prompt in split} for split in (train, dev, benchmark)]
    assert len(set.union(*keys)) == sum(map(len, keys)), "a problem is in two splits"
    assert json.loads((out / "report.json").read_text()) == report
    own = report["sources"]["train"]["own"]
    assert own == {"in": 3, "kept": 1, "dropped": {"duplicate": 1, "malformed_json": 1}}
    assert report["sources"]["train"]["sums"]["dropped"]["in_benchmark"] >= 20
    kept = sum(counts["kept"] for counts in report["sources"]["train"].values())
    assert kept == len(train) + len(dev) and len(dev) == 16
    quarantine = tables.read(out / "quarantine.parquet", tables.QUARANTINE)
    bad = [row for row in quarantine if row["reason"] == "malformed_json"]
    assert [(row["stage"], row["line"], row["row"]) for row in bad] == [("curate", 2, "{")]
    assert bad[0]["file"].endswith("own.jsonl")
    dropped = sum(sum(c["dropped"].values()) for group in report["sources"].values() for c in group.values())
    assert len(quarantine) == dropped
    left_out = tables.read_left_out(out / "left_out.parquet")
    assert left_out.keys().isdisjoint(prompt.prompt_id for prompt in train)
    assert {left_out[prompt.prompt_id].partition(":")[0] for prompt in dev} == {"in_dev"}
    assert all("of benchmark 'sums'" in left_out[prompt.prompt_id] for prompt in benchmark)


def test_rows_that_a_benchmark_lacks_are_logged_as_a_warning(
    params: Any, jsonl: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"problem": f"Half of {n}?", "answer": f"#### {n}"} for n in range(4)]
    path = jsonl("held.jsonl", *rows, {"problem": "Half of it?", "answer": "#### many"})
    benchmarks = {"halves": [PromptSource(name="held", file=str(path), answer_kind="gsm8k")]}
    against = jsonl("against.jsonl", {"problem": "What is 2 + 3?"}, b"{")
    config = params.curate.model_copy(
        update={
            "benchmarks": benchmarks,
            "incomplete": {"halves": 1},
            "decontamination": DecontaminationConfig.model_validate({"against": [str(against)]}),
        }
    )
    curate.run(SimpleNamespace(seed=0, curate=config, verifier=VerifierConfig()), tmp_path / "prompts")
    assert 'benchmark halves lacks 1 of its 5 rows: {"unreadable_answer": 1}' in caplog.text
    assert f'no training prompt was compared with 1 rows of {against}: {{"malformed_json": 1}}' in caplog.text
    report = json.loads((tmp_path / "prompts" / "report.json").read_text())
    assert report["benchmarks"]["halves"]["left_out"] == {"unreadable_answer": 1}


def test_a_second_run_writes_the_same_bytes(params: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        curate.run(params, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == [
        "benchmarks.parquet",
        "dev.parquet",
        "left_out.parquet",
        "quarantine.parquet",
        "report.json",
        "train.parquet",
    ]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
