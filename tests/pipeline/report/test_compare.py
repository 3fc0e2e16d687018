"""Stage `compare`, on files as the other stages write them: its verdicts, its totals and its errors."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from comparison_files import ABILITY, ARMS, params, write_json, write_run
from rich.console import Console

from hpt_core.errors import InputError
from pipelines import compare
from pipelines.report import summary, words


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    write_run(path)
    compare.run(params(), path)
    return path


@pytest.fixture(scope="module")
def comparison(root: Path) -> dict[str, Any]:
    return json.loads((root / "metrics/compare.json").read_text())


def test_a_difference_is_distinguished_from_none(comparison: dict[str, Any]) -> None:
    held_out = comparison["benchmarks"]["held_out"]
    verdicts = {(pair["a"], pair["b"]): pair for pair in held_out["pairs"]}
    better = verdicts["program", "teacher"]
    assert better["detected"] and better["difference"] < 0 and better["ci95"][1] < 0
    low, high = (words.points(-bound) for bound in reversed(better["ci95"]))
    points = words.points(-better["difference"])
    p = words.p_value(better["p_holm"])
    assert (
        better["verdict"]
        == f"On held_out, teacher beats program by {points} points (95% {low} to {high}, {p})."
    )
    same = verdicts["teacher", "mixed"]
    assert not same["detected"]
    assert same["verdict"].startswith("On held_out, no difference was detected between teacher and mixed: ")
    assert all(held_out["gain"][arm]["detected"] for arm in ARMS)
    assert held_out["headline"].endswith("Not distinguishable from it: teacher.")


def test_differences_are_those_of_the_files(root: Path, comparison: dict[str, Any]) -> None:
    held_out = comparison["benchmarks"]["held_out"]
    rows = pq.read_table(root / "data/eval/mixed.parquet").to_pylist()
    base = pq.read_table(root / "data/eval/base.parquet").to_pylist()
    share = np.mean([row["correct"] for row in rows])
    gain = share - np.mean([row["correct"] for row in base])
    assert held_out["gain"]["mixed"]["difference"] == pytest.approx(gain)
    assert held_out["accuracy"]["mixed"]["avg_at_k"] == pytest.approx(share)
    hard = [row["correct"] for row in rows if row["source"] == "sums level 10"]
    level = held_out["sources"]["sums level 10"]
    assert level["accuracy"]["mixed"] == pytest.approx(np.mean(hard))
    assert level["n_prompts"] == len(hard) / 4


def test_p_is_corrected_for_the_number_of_pairs(comparison: dict[str, Any]) -> None:
    pairs = sorted(comparison["benchmarks"]["held_out"]["pairs"], key=lambda pair: pair["p"])
    assert pairs[0]["p_holm"] == pytest.approx(min(1, 3 * pairs[0]["p"]))
    assert pairs[2]["p_holm"] == pytest.approx(max(pairs[1]["p_holm"], pairs[2]["p"]))


def test_training_is_summed_from_log_and_gate(root: Path, comparison: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in (root / "metrics/train/mixed.jsonl").read_text().splitlines()]
    gate = pq.read_table(root / "data/rollouts/mixed/gate.parquet").to_pylist()
    mixed = comparison["training"]["mixed"]
    assert mixed["offline_share"] == pytest.approx(np.mean([line["offline_share"] for line in lines]))
    assert (mixed["tokens_generated"], mixed["tokens_trained"]) == (9100 * 50, 4321 * 50)
    of_teacher = [row for row in gate if row["kind"] == "teacher"]
    assert mixed["demonstrations"]["teacher"] == sum(row["route"] == "sft" for row in of_teacher)
    assert sum(mixed["routes"].values()) == len(gate)


def test_first_and_last_decisions_on_a_prompt_are_counted(root: Path, comparison: dict[str, Any]) -> None:
    ends: dict[str, list[str]] = {}
    for row in pq.read_table(root / "data/rollouts/teacher/gate.parquet").to_pylist():
        ends[row["prompt_id"]] = [*ends.get(row["prompt_id"], [])[:1], row["route"]]
    revisited = comparison["training"]["teacher"]["revisited"]
    assert sum(sum(last.values()) for last in revisited.values()) == len(ends) == 150
    assert 0 < revisited["sft"]["sft"] < revisited["sft"]["rl"]
    for first, last in revisited.items():
        assert last == dict(sorted(Counter(b for a, b in ends.values() if a == first).items()))


def test_a_prompt_of_one_step_does_not_count_as_revisited(tmp_path: Path) -> None:
    write_run(tmp_path, prompts=16, steps=5)
    report = compare.run(params(), tmp_path)
    revisited = report["comparison"]["training"]["mixed"]["revisited"].values()
    assert sum(sum(last.values()) for last in revisited) == 5 * 32 - 150


def test_same_files_same_bytes(root: Path, tmp_path: Path) -> None:
    write_run(tmp_path)
    compare.run(params(), tmp_path)
    for name in ("reports/provenance.html", "metrics/compare.json"):
        assert (tmp_path / name).read_bytes() == (root / name).read_bytes()


def test_one_arm_alone(tmp_path: Path) -> None:
    write_run(tmp_path, steps=5)
    report = compare.run(params(("teacher",)), tmp_path)
    assert report["comparison"]["benchmarks"]["held_out"]["pairs"] == []
    assert "Did the demonstrations help?" in report["page"].read_text(encoding="utf-8")


def test_other_prompts_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, prompts=16, steps=2)
    path = tmp_path / "data/eval/teacher.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    for row in rows[:4]:
        row["prompt_id"] = "another"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    with pytest.raises(InputError) as error:
        compare.run(params(), tmp_path)
    assert "data/eval/base.parquet" in str(error.value) and "data/eval/teacher.parquet" in str(error.value)
    assert "different prompts on held_out" in str(error.value)
    assert not (tmp_path / "metrics/compare.json").exists()


def test_prompts_of_another_curation_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, prompts=16, steps=2)
    path = tmp_path / "data/prompts/benchmarks.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(
        InputError, match=r"base\.parquet: prompt held_out-000 .* is not in .*benchmarks\.parquet"
    ):
        compare.run(params(), tmp_path)


def test_metrics_of_another_run_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, prompts=16, steps=2)
    path = tmp_path / "metrics/eval/mixed.json"
    entry = json.loads(path.read_text())
    entry["held_out"]["avg_at_k"] += 0.01
    write_json(path, entry)
    with pytest.raises(InputError, match=r"mixed\.parquet gives an accuracy .*mixed\.json says"):
        compare.run(params(), tmp_path)


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    write_run(tmp_path, prompts=16, steps=2)
    log = tmp_path / "metrics/train/mixed.jsonl"
    complete = log.read_text()
    log.write_text(complete[:-30])
    with pytest.raises(InputError, match=r"mixed\.jsonl:2: .*dvc repro train@mixed"):
        compare.run(params(), tmp_path)
    log.write_text(complete)
    damaged = tmp_path / "data/rollouts/mixed/provenance.json"
    damaged.write_text(damaged.read_text()[:-30])
    with pytest.raises(InputError, match=r"provenance\.json: not JSON .*dvc repro train@mixed"):
        compare.run(params(), tmp_path)
    write_run(tmp_path, prompts=16, steps=2)
    for missing, stage in {
        "metrics/train/mixed.jsonl": "train@mixed",
        "data/rollouts/teacher/provenance.json": "train@teacher",
        "data/rollouts/base/pass_rates.parquet": "rollouts",
    }.items():
        (tmp_path / missing).rename(tmp_path / "aside")
        with pytest.raises(InputError, match=rf"{missing}: not found; run `dvc repro {stage}`"):
            compare.run(params(), tmp_path)
        (tmp_path / "aside").rename(tmp_path / missing)


def test_seconds_are_those_of_the_present_result(tmp_path: Path) -> None:
    write_run(tmp_path, prompts=8, steps=2)
    compare.run(params(), tmp_path)

    def seconds() -> str:
        with (tmp_path / "out").open("w") as file:
            console = Console(width=80, record=True, file=file)
            console.print(summary.table(tmp_path))
        [row] = [
            line.split() for line in console.export_text().splitlines() if line.split()[:1] == ["teacher"]
        ]
        return row[-1]

    assert seconds() == "83"
    timing = tmp_path / "logs/timings/train@teacher.json"
    of_this_result = timing.read_text()
    write_json(timing, {"seconds": 83.4})
    assert seconds() == "cached"
    timing.write_text(of_this_result)
    log = tmp_path / "metrics/train/teacher.jsonl"
    log.write_text(log.read_text() + "\n")
    assert seconds() == "cached"


@pytest.mark.parametrize("benchmarks", [("held_out",), ("held_out", "competition_problems_2025")])
def test_the_terminal_table_fits_80_columns(tmp_path: Path, benchmarks: tuple[str, ...]) -> None:
    write_run(tmp_path, benchmarks, prompts=80, steps=20)
    held_out = compare.run(params(), tmp_path)["comparison"]["benchmarks"]["held_out"]
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    summary.print_summary(console, tmp_path)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    cells = [line.split() for line in lines if line.split()]
    of_held_out = [row for row in cells if len(benchmarks) == 1 or row[1:2] == ["held_out"]]
    rows = {row[0]: " ".join(row) for row in of_held_out if row[0] in ABILITY}
    for policy in ABILITY:
        one = held_out["accuracy"][policy]
        assert words.percent(one["avg_at_k"]) in rows[policy] and words.interval(one["ci95"]) in rows[policy]
    assert words.signed(held_out["gain"]["teacher"]["difference"]) + "*" in rows["teacher"]
    assert " 268k " in rows["teacher"] and rows["teacher"].split()[-1] == "83"
    assert rows["program"].split()[-1] == "cached"
    assert any(line.startswith("On held_out, teacher beats program by ") for line in lines)


@pytest.mark.parametrize("other", [{"k": 4, "top_p": 1.0, "hash": "b"}, None])
def test_scores_that_were_measured_otherwise_are_not_compared(
    tmp_path: Path, other: dict[str, Any] | None
) -> None:
    write_run(tmp_path, prompts=20)
    for policy in ("base", *ARMS):
        path = tmp_path / f"metrics/eval/{policy}.json"
        metrics = json.loads(path.read_text())
        metrics["held_out"]["settings"] = {"k": 4, "top_p": 0.95, "hash": "a"}
        write_json(path, metrics)
    compare.run(params(), tmp_path)
    if other is None:
        del metrics["held_out"]["settings"]
    else:
        metrics["held_out"]["settings"] = other
    write_json(path, metrics)
    name = "top_p" if other else "settings that are not recorded"
    with pytest.raises(
        InputError, match=rf"mixed.json: the scores on held_out were measured otherwise \({name}"
    ):
        compare.run(params(), tmp_path)


def test_responses_over_the_limits_are_reported(tmp_path: Path) -> None:
    write_run(tmp_path, prompts=20)
    path = tmp_path / "metrics/eval/mixed.json"
    metrics = json.loads(path.read_text())
    metrics["held_out"]["unjudged"] = 0.025
    write_json(path, metrics)
    compare.run(params(), tmp_path)
    console = Console(width=200)
    with console.capture() as captured:
        summary.print_summary(console, tmp_path)
    sentence = (
        "On held_out, the verifier exceeded its limits on 2.5% of the responses of mixed; they count as"
    )
    assert sentence in captured.get()
    page = (tmp_path / "reports/provenance.html").read_text()
    assert page.count(f"{sentence} not solved.") == 1
