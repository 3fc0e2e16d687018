"""The HTML report: what it shows, that it loads nothing, and that it cannot be broken by its contents."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from comparison_files import ABILITY, ARMS, HOSTILE, params, write_json, write_responses, write_run

from hpt_core.errors import InputError
from pipelines import compare
from pipelines.report import words
from pipelines.report.line_charts import Series, line_chart, pass_chart
from pipelines.report.with_run import RunFacts, with_run, write_latest

SHARES = ("sft_share", "sft_first", "sft_last", "solved_first", "solved_last")


class Page(HTMLParser):
    """Tags with their attributes, and the text outside <style>, cells of a table apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.tags, self.text, self.open = html, [], "", []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " " * (tag == "td")
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    write_run(path)
    compare.run(params(), path)
    return path


@pytest.fixture(scope="module")
def comparison(root: Path) -> dict[str, Any]:
    return json.loads((root / "metrics/compare.json").read_text())


@pytest.fixture(scope="module")
def page(root: Path) -> Page:
    return Page((root / "reports/provenance.html").read_text(encoding="utf-8"))


def test_source_statistics_are_those_of_the_training(
    root: Path, comparison: dict[str, Any], page: Page
) -> None:
    for arm in ARMS:
        statistics = json.loads((root / f"data/rollouts/{arm}/provenance.json").read_text())
        assert comparison["training"][arm]["sources"] == statistics
    cells = " ".join(page.text[page.text.index("Training prompts by who wrote") :].split())
    at = 0
    for arm, kind in [("program",) * 2, ("teacher",) * 2, ("mixed", "program"), ("mixed", "teacher")]:
        one = comparison["training"][arm]["sources"][f"worked by {kind} <b>"]
        assert 0 < one["sft_last"] < one["sft_first"] < 1 and one["solved_first"] < one["solved_last"]
        shares = [words.percent(one[key]) for key in SHARES]
        row = [
            arm,
            kind,
            f"worked by {kind} <b>",
            *(str(one[key]) for key in ("prompts", "decisions")),
            *shares,
            "1.250",
            "0.375",
        ]
        at = cells.index(" ".join(row), at) + 1


def test_missing_source_statistics_are_shown_as_missing(tmp_path: Path) -> None:
    write_run(tmp_path, prompts=16, steps=2)
    path = tmp_path / "data/rollouts/program/provenance.json"
    statistics = json.loads(path.read_text())
    statistics["worked by program <b>"] |= dict.fromkeys(["solved_first", "solved_last", "nll_before"])
    write_json(path, statistics)
    write_json(tmp_path / "data/rollouts/teacher/provenance.json", {})
    text = Page(compare.run(params(), tmp_path)["page"].read_text(encoding="utf-8")).text
    cells = " ".join(text[text.index("Training prompts by who wrote") :].split())
    assert "\u2013 \u2013 \u2013 0.375" in cells
    assert "teacher no step had a prompt with a demonstration mixed" in cells


def test_the_gate_history_is_shown_as_a_chart_and_as_numbers(root: Path, page: Page) -> None:
    rates = pq.read_table(root / "data/rollouts/base/pass_rates.parquet").to_pylist()
    hardest = {row["prompt_id"] for row in rates if row["pass_rate"] == 0}
    labels = [a.get("aria-label") or "" for tag, a in page.tags if tag == "svg"]
    numbers = " ".join(page.text[page.text.index("The gate history as numbers") :].split())
    for arm in ARMS:
        gate = pq.read_table(root / f"data/rollouts/{arm}/gate.parquet").to_pylist()
        rows = [row for row in gate if row["prompt_id"] in hardest]
        thirds = [
            words.percent(np.mean([row["route"] == "sft" for row in rows if first < row["step"] <= last]))
            for first, last in [(0, 17), (17, 33), (33, 50)]
        ]
        assert f"{arm} 0% {len(hardest)} {len(rows)} {' '.join(thirds)}" in numbers
        [description] = [label for label in labels if label.startswith(f"Gate history of {arm}. ")]
        assert f"{thirds[0]} to {thirds[2]} for {len(hardest)} prompts that base solves 0% of" in description
    assert "mixed ? 1 " in numbers  # the prompt without a verified rollout of base


def test_the_page_loads_nothing_from_elsewhere(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("script", "img", "iframe", "object", "embed", "base")
        for key, value in attributes.items():
            assert not key.startswith("on")
            if key in ("href", "src", "action", "data"):
                assert value == "data:,"
    css = re.search(r"<style>(.*?)</style>", page.html, re.DOTALL)[1]
    assert "url(" not in css and "@import" not in css and "http" not in css


def test_a_copy_names_its_run_and_the_versioned_page_does_not(root: Path, page: Page) -> None:
    links = {
        "Runs": "https://ann:pw@mlflow.example/#/experiments/1/runs/ab?x=1&y=2",
        "Model": "javascript:alert(1)",
    }
    facts = RunFacts(datetime(2026, 3, 4, 5, 6, tzinfo=UTC), "c0ffee" * 7, True, 'mine <b> seed="2"', links)
    copy = write_latest(root, facts)
    assert copy == root / "reports/latest.html"
    shown = Page(copy.read_text(encoding="utf-8"))
    for text in (
        "2026-03-04 05:06 UTC",
        "c0ffeec0ffee, with changes",
        'mine <b> seed="2"',
        "javascript:alert(1)",
    ):
        assert text in shown.text and text not in page.text
    [link] = [attributes for tag, attributes in shown.tags if tag == "a"]
    assert link["href"] == "https://mlflow.example/#/experiments/1/runs/ab?x=1&y=2"
    assert "pw@" not in shown.html and shown.open == []
    with pytest.raises(InputError, match="dvc repro compare"):
        with_run("<p>no report</p>", facts)


def test_what_a_model_wrote_is_shown_as_text(page: Page) -> None:
    assert HOSTILE.replace("\x1b", "\u241b") in page.text
    assert "<script" not in page.html and "<img" not in page.html and "\x1b" not in page.html


def test_names_cannot_break_a_chart() -> None:
    series = [Series('<b>"arm"</b>', 1, ((1, 0.0), (2, 1.0)))]
    svg = line_chart('a "quoted" <title>', series, str).svg()
    assert "<b>" not in svg and Page(svg).tags[0][1]["aria-label"].startswith('a "quoted" <title>')


def test_the_page_shows_every_policy_and_every_verdict(page: Page, comparison: dict[str, Any]) -> None:
    for verdict in comparison["verdicts"]:
        assert verdict in page.text
    headings = [label for tag, a in page.tags if tag == "svg" and (label := a.get("aria-label"))]
    for arm in ARMS:
        accuracy = words.percent(comparison["benchmarks"]["held_out"]["accuracy"][arm]["avg_at_k"])
        assert f"{arm} {accuracy}" in headings[0]
        assert any(heading.startswith(f"Gate decisions of {arm}.") for heading in headings)
    titles = (
        "Mean reward",
        "Offline share",
        "Accuracy on the dev",
        "Entropy",
        "NLL of teacher demonstrations",
    )
    assert all(any(heading.startswith(title) for heading in headings) for title in titles)
    assert "worked solutions" in page.text and "20 too_long" in page.text
    assert "✓ right" in page.text and "✗ wrong" in page.text


def test_the_page_is_well_formed_and_labelled(page: Page) -> None:
    assert page.open == []  # every end tag closed the innermost element
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption") and tags.count("h1") == 1
    for tag, attributes in page.tags:
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes["aria-label"]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_sources_come_in_the_order_of_their_numbers(page: Page) -> None:
    assert page.text.index("sums level 9") < page.text.index("sums level 10")


def test_pass_curves_are_drawn_with_their_bands(page: Page, comparison: dict[str, Any]) -> None:
    accuracy = comparison["benchmarks"]["held_out"]["accuracy"]
    [description] = [
        label
        for tag, a in page.tags
        if tag == "svg" and (label := a.get("aria-label") or "").startswith("pass@k on held_out.")
    ]
    for policy in ABILITY:
        first, _, last = accuracy[policy]["pass_curve"]
        assert first["pass_at_k"] == pytest.approx(accuracy[policy]["avg_at_k"])
        assert last["pass_at_k"] == pytest.approx(accuracy[policy]["pass_at_k"])
        for one in (first, last):
            value, interval = words.percent(one["pass_at_k"]), words.interval(one["ci95"])
            assert f"{value} ({interval}) at k = {one['k']}" in description
    assert sum("spread" in (a.get("class") or "") for _, a in page.tags) == len(ABILITY)


def test_a_pass_curve_goes_through_its_numbers() -> None:
    numbers = [
        {"k": k, "pass_at_k": 0.2 + 0.1 * i, "ci95": [0.1 + 0.1 * i, 0.35 + 0.1 * i]}
        for i, k in enumerate([1, 2, 4, 8, 12])
    ]
    points = [(at["k"], at["pass_at_k"]) for at in numbers]
    series = Series("a <b>", 1, points, [at["ci95"] for at in numbers])
    tags = Page(pass_chart("p", [series]).svg()).tags
    line, band = (
        [tuple(map(float, pair.split(","))) for pair in a["points"].split()]
        for name in ("curve", "spread")
        for _, a in tags
        if name in (a.get("class") or "").split()
    )
    xs = [x for x, _ in line]
    per_doubling = xs[1] - xs[0]
    assert [(x - xs[0]) / per_doubling for x in xs] == pytest.approx([0, 1, 2, 3, math.log2(12)], abs=0.01)
    tall = (line[0][1] - line[-1][1]) / 0.4
    lows, highs = band[:5], band[:4:-1]
    for at, (x, y), low, high in zip(numbers, line, lows, highs, strict=True):
        assert low[0] == high[0] == x
        assert (low[1] - y) / tall == pytest.approx(at["pass_at_k"] - at["ci95"][0], abs=0.002)
        assert (y - high[1]) / tall == pytest.approx(at["ci95"][1] - at["pass_at_k"], abs=0.002)


def test_one_response_to_a_prompt_gives_no_curve(tmp_path: Path) -> None:
    write_run(tmp_path, prompts=40, steps=2)
    prompts = pq.read_table(tmp_path / "data/prompts/benchmarks.parquet").to_pylist()
    for policy in ABILITY:
        write_responses(tmp_path, policy, prompts, samples=1)
    page = Page(compare.run(params(), tmp_path)["page"].read_text(encoding="utf-8"))
    assert page.open == [] and "More attempts" not in page.text
    assert not any("pass@k" in (a.get("aria-label") or "") for _, a in page.tags)


def test_what_was_cut_short_and_how_long_responses_are(page: Page, comparison: dict[str, Any]) -> None:
    for policy, one in comparison["benchmarks"]["held_out"]["accuracy"].items():
        lengths = one["lengths"]
        row = [policy, words.percent(one["truncated"]), f"{one['mean_length']:.0f}"]
        row.append(", ".join(str(lengths[name]) for name in ("p10", "p50", "p90", "max")))
        cells = " ".join(page.text[page.text.index("Accuracy on held_out, with") :].split())
        at = 0
        for cell in row:
            at = cells.index(cell, at)


def test_the_page_names_what_it_was_made_from(root: Path, page: Page) -> None:
    head = " ".join(page.text[: page.text.index("Verdict")].split())
    for fact in (
        "Seed 7",
        "Base model Llama built here, 3 layers of 96, 240 steps",
        "Teacher Llama built here, 3 layers of 96, 550 steps; 4 responses per prompt",
        "Method hpt, gate switch at gamma 0.25",
        "Training 50 steps, 32 prompts x 8 rollouts",
        "Licenses prompts Apache-2.0; demonstrations Apache-2.0",
    ):
        assert fact in head
    first = (root / "reports/provenance.html").read_bytes()
    compare.run(params(), root)
    assert (root / "reports/provenance.html").read_bytes() == first


def test_the_seed_caveat_stands_before_the_verdicts(page: Page, comparison: dict[str, Any]) -> None:
    verdict = comparison["benchmarks"]["held_out"]["pairs"][0]["verdict"]
    assert page.text.index("One training seed.") < page.text.index(verdict)


def test_where_an_arm_got_worse_is_said_and_marked(tmp_path: Path) -> None:
    write_run(tmp_path, prompts=160, steps=2)
    path = tmp_path / "data/eval/teacher.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    for row in rows:
        if row["source"] == "sums level 4" and row["sample"] == 0:
            row["correct"] = False
    pq.write_table(table.from_pylist(rows, schema=table.schema), path)
    metrics = json.loads((tmp_path / "metrics/eval/teacher.json").read_text())
    metrics["held_out"]["avg_at_k"] = float(np.mean([row["correct"] for row in rows]))
    write_json(tmp_path / "metrics/eval/teacher.json", metrics)
    result = compare.run(params(), tmp_path)
    source = result["comparison"]["benchmarks"]["held_out"]["sources"]["sums level 4"]
    lost = source["accuracy"]["teacher"] - source["accuracy"]["base"]
    gain = source["gain"]["teacher"]
    assert gain["difference"] == pytest.approx(lost) and lost < 0 and gain["ci95"][1] < 0
    text = Page(result["page"].read_text(encoding="utf-8")).text
    sentence = "On sums level 4 (20 prompts of held_out), an arm is below the base policy: teacher by"
    assert f"{sentence} {-100 * lost:.1f} points; for teacher chance over the prompts does not" in text
    assert f"\u25bc {words.signed(lost)}" in text
    assert "On sums level 5" not in text  # every arm gained there


def test_every_minus_is_the_same_sign(page: Page) -> None:
    assert words.points(-0.0312) == "\u22123.1" and words.signed(-0.0312) == "\u22123.1"
    assert words.points(-0.0001) == "0.0" and words.signed(-0.0001) == "0.0"
    assert not re.search(r"[ (]-\d", page.text[: page.text.index("Responses side by side")])


def test_few_demonstrations_and_cut_responses_are_said(tmp_path: Path) -> None:
    write_run(tmp_path, prompts=16, steps=2)
    path = tmp_path / "data/rollouts/program/gate.parquet"
    table = pq.read_table(path)
    bare = [row | {"trajectory_id": None} if row["prompt_id"] > "t010" else row for row in table.to_pylist()]
    pq.write_table(table.from_pylist(bare, schema=table.schema), path)
    metrics = json.loads((tmp_path / "metrics/eval/mixed.json").read_text())
    metrics["held_out"]["truncated"] = 0.4
    write_json(tmp_path / "metrics/eval/mixed.json", metrics)
    result = compare.run(params(), tmp_path)
    coverage = result["comparison"]["training"]["program"]["coverage"]
    assert coverage == pytest.approx(len({r["prompt_id"] for r in bare if r["trajectory_id"]}) / 64)
    text = Page(result["page"].read_text(encoding="utf-8")).text
    assert f"Only {words.percent(coverage)} of the prompts of program have a demonstration" in text
    assert "of teacher have a demonstration" not in text
    assert "40.0% of the responses of mixed were cut off" in text


def test_sources_show_who_wrote_them_and_the_errors_of_the_verifier(tmp_path: Path) -> None:
    write_run(tmp_path, prompts=16, steps=2)
    rates = {
        "answers": 9,
        "mutants": {"made": {"digit": 90}, "wrong": {"digit": 2}},
        "rewrites": {"made": {"spaces": 40}, "wrong": {}},
    }
    sizes = {"train": 150, "dev": 12, "quarantine": 0, "benchmarks": {}}
    write_json(tmp_path / "data/prompts/report.json", {"verifier": {"sums": rates}, "sizes": sizes})
    text = Page(compare.run(params(), tmp_path)["page"].read_text(encoding="utf-8")).text
    cells = " ".join(text.split())
    assert "worked solutions program Apache-2.0 300 280" in cells
    assert "sums 2 of 90 0 of 40" in cells and "Prompts 150 to train on, 12 dev" in cells
