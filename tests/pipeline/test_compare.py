"""Stage compare, on files such as the other stages write: what it concludes, shows and refuses."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from hashlib import md5
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from hpt_core import tables
from hpt_core.config import EvaluateConfig
from hpt_core.errors import InputError
from hpt_core.evaluation import summarise
from hpt_core.trainer import source_stats
from pipelines import compare
from pipelines.params import Params
from pipelines.params.sections import ArmConfig
from pipelines.report import summary, words
from pipelines.report.attempts import PassCurve, pass_chart
from pipelines.report.charts import Series, gate_chart, line_chart

ABILITY = {"base": 0.0, "program": 0.16, "teacher": 0.36, "mixed": 0.37}
"""Policy -> what it adds to the share of right answers of the base policy."""
ARMS = ("program", "teacher", "mixed")
SHARES = ("sft_share", "sft_first", "sft_last", "solved_first", "solved_last")
HOSTILE = (
    '<script src="https://evil.example/x.js">alert(1)</script><img src=x onerror=alert(2)>\x1b[31m & "q"'
)


def params(arms: tuple[str, ...] = ARMS) -> Params:
    kinds = {
        "program": {"program": 1.0},
        "teacher": {"teacher": 1.0},
        "mixed": {"program": 0.5, "teacher": 0.5},
    }
    # Only what the stage reads: what other stages ask for is theirs to test.
    return Params.model_construct(
        seed=7,
        arms={arm: ArmConfig(mix=kinds[arm]) for arm in arms},
        evaluate=EvaluateConfig(samples=4, bootstrap=1000),
    )


def write_table(path: Path, rows: list[dict[str, Any]], **columns: pa.DataType) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(columns.items()))), path)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_run(
    root: Path, benchmarks: tuple[str, ...] = ("held_out",), prompts: int = 160, steps: int = 50
) -> None:
    """The files of a whole run under `root`."""
    rows = [
        {"benchmark": name, "prompt_id": f"{name}-{i:03}", "problem": f"What is {i} + {i % 9}?"}
        | {
            "answer": str(i + i % 9),
            "answer_kind": "math",
            "source": f"sums level {i % 8 + 3}",
            "license": "MIT",
        }
        for name in benchmarks
        for i in range(prompts)
    ]
    names = ("prompt_id", "problem", "answer", "answer_kind", "source", "license", "benchmark")
    write_table(root / "data/prompts/benchmarks.parquet", rows, **dict.fromkeys(names, pa.string()))
    for policy in ABILITY:
        write_responses(root, policy, rows)
    for arm in ARMS:
        write_training(root, arm, steps)
    rates = [
        {"prompt_id": f"t{number:03}", "samples": 8, "solved": number % 9, "pass_rate": number % 9 / 8}
        for number in range(150)
        if number != 7  # none of its rollouts was judged
    ]
    tables.write(root / "data/rollouts/base/pass_rates.parquet", rates, tables.PASS_RATES)
    counts = {"in": 300, "kept": 280, "dropped": {"too_long": 20}, "prompts": 300, "prompts_without": 20}
    write_json(root / "data/experts/report.json", {"worked solutions": counts})
    result = md5((root / "metrics/train/teacher.jsonl").read_bytes()).hexdigest()
    write_json(root / "logs/timings/train@teacher.json", {"seconds": 83.4, "result": result})


def write_responses(root: Path, policy: str, prompts: list[dict[str, Any]], samples: int = 4) -> None:
    """data/eval and metrics/eval of one policy: level 3 is always right for all, level 10 nearly never."""
    luck = np.random.default_rng(0).random((len(prompts), samples))
    rows = []
    for i, prompt in enumerate(prompts):
        level = int(prompt["source"].split()[-1])
        share = min(1.0, max(0.02, 1.05 - (level - 3) * 0.16 + ABILITY[policy] * (level > 3)))
        for sample in range(samples):
            right = bool(luck[i, sample] < share)
            answer = prompt["answer"] if right else "0"
            response = f"Start with the numbers of the problem.\n{prompt['problem'][8:-1]} gives {answer}.\n"
            if policy == "mixed":
                response += HOSTILE
            rows.append(
                {key: prompt[key] for key in ("benchmark", "prompt_id", "source")}
                | {"sample": sample, "response": response + f"\\boxed{{{answer}}}", "extracted": answer}
                | {"correct": right, "n_tokens": 30 + level, "finish_reason": "stop" if right else "length"}
            )
    types = {"benchmark": pa.string(), "prompt_id": pa.string(), "source": pa.string(), "sample": pa.int64()}
    types |= {"response": pa.string(), "extracted": pa.string(), "correct": pa.bool_()}
    types |= {"finish_reason": pa.string(), "n_tokens": pa.int64()}
    write_table(root / f"data/eval/{policy}.parquet", rows, **types)
    groups = {
        name: [row for row in rows if row["benchmark"] == name] for name in {r["benchmark"] for r in rows}
    }
    entries = {name: summarise(groups[name], samples, 1, 1000) for name in sorted(groups)}
    write_json(root / f"metrics/eval/{policy}.json", entries)


def write_training(root: Path, arm: str, steps: int, prompts: int = 150) -> None:
    """An arm's files of training: the gate asks less for the expert with time, and at easier prompts."""
    rng, lines, gate = np.random.default_rng(len(arm)), [], []
    kinds = {"program": ["program"], "teacher": ["teacher"], "mixed": ["program", "teacher"]}[arm]
    for step in range(1, steps + 1):
        learned = 1 - math.exp(-step / 18)
        routes = []
        for i in range(32):
            number = ((step - 1) * 32 + i) % prompts
            solved = int(rng.binomial(8, min(1.0, number % 9 / 10 + 0.5 * learned)))
            kind = kinds[number % len(kinds)] if number % 10 else None
            wanted = solved <= 2
            routes.append(("sft" if kind else "no_expert") if wanted else "equal" if solved == 8 else "rl")
            gate.append(
                {"step": step, "prompt_id": f"t{number:03}", "pass_rate": solved / 8, "route": routes[-1]}
                | {"trajectory_id": f"j{number}" if kind else None, "kind": kind}
                | {"source": f"worked by {kind} <b>" if kind else None}
            )
        sft, rl = routes.count("sft"), routes.count("rl")
        line = {
            "step": step,
            "reward/mean": 0.3 + 0.35 * learned * (1 + ABILITY[arm]) + rng.normal(0, 0.03),
            "offline_share": sft / (sft + 8 * rl),
            "entropy": 0.5 - 0.3 * learned + rng.normal(0, 0.01),
            "skipped": 0,
            "tokens/generated": 9100 * step,
            "tokens/trained": 4321 * step,
        }
        line |= {f"nll/{kind}": 1.2 - 0.8 * learned + rng.normal(0, 0.03) for kind in kinds}
        here = Counter(row["kind"] for row in gate if row["step"] == step and row["route"] == "sft")
        line |= {f"source/worked by {kind} <b>/sft": float(here[kind]) for kind in kinds}
        line |= {f"source/worked by {kind} <b>/nll_before": 1.25 for kind in kinds if step == 1}
        line |= {f"source/worked by {kind} <b>/nll_after": 0.375 for kind in kinds if step == steps}
        if step % 10 == 0:
            line["dev/accuracy"] = 0.35 + 0.3 * learned
        lines.append(line)
    path = root / f"metrics/train/{arm}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    tables.write(root / f"data/rollouts/{arm}/gate.parquet", gate, tables.GATE)
    write_json(root / f"data/rollouts/{arm}/provenance.json", source_stats.summarise(gate, lines))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    write_run(path)
    compare.run(params(), path)
    return path


@pytest.fixture(scope="module")
def found(root: Path) -> dict[str, Any]:
    return json.loads((root / "metrics/compare.json").read_text())


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
def page(root: Path) -> Page:
    return Page((root / "reports/provenance.html").read_text(encoding="utf-8"))


def test_it_tells_a_difference_from_none(found: dict[str, Any]) -> None:
    held_out = found["benchmarks"]["held_out"]
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


def test_differences_are_those_of_the_files(root: Path, found: dict[str, Any]) -> None:
    held_out = found["benchmarks"]["held_out"]
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


def test_p_is_corrected_for_the_number_of_pairs(found: dict[str, Any]) -> None:
    pairs = sorted(found["benchmarks"]["held_out"]["pairs"], key=lambda pair: pair["p"])
    assert pairs[0]["p_holm"] == pytest.approx(min(1, 3 * pairs[0]["p"]))
    assert pairs[2]["p_holm"] == pytest.approx(max(pairs[1]["p_holm"], pairs[2]["p"]))


def test_training_is_summed_from_log_and_gate(root: Path, found: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in (root / "metrics/train/mixed.jsonl").read_text().splitlines()]
    gate = pq.read_table(root / "data/rollouts/mixed/gate.parquet").to_pylist()
    mixed = found["training"]["mixed"]
    assert mixed["offline_share"] == pytest.approx(np.mean([line["offline_share"] for line in lines]))
    assert (mixed["tokens_generated"], mixed["tokens_trained"]) == (9100 * 50, 4321 * 50)
    of_teacher = [row for row in gate if row["kind"] == "teacher"]
    assert mixed["demonstrations"]["teacher"] == sum(row["route"] == "sft" for row in of_teacher)
    assert sum(mixed["routes"].values()) == len(gate)


def test_what_the_gate_said_of_prompts_that_came_up_again_is_counted(
    root: Path, found: dict[str, Any]
) -> None:
    ends: dict[str, list[str]] = {}
    for row in pq.read_table(root / "data/rollouts/teacher/gate.parquet").to_pylist():
        ends[row["prompt_id"]] = [*ends.get(row["prompt_id"], [])[:1], row["route"]]
    revisited = found["training"]["teacher"]["revisited"]
    assert sum(sum(last.values()) for last in revisited.values()) == len(ends) == 150
    assert 0 < revisited["sft"]["sft"] < revisited["sft"]["rl"]
    for first, last in revisited.items():
        assert last == dict(sorted(Counter(b for a, b in ends.values() if a == first).items()))


def test_a_prompt_that_came_up_once_is_none_that_came_up_again(tmp_path: Path) -> None:
    write_run(tmp_path, prompts=16, steps=5)
    report = compare.run(params(), tmp_path)
    again = report["comparison"]["training"]["mixed"]["revisited"].values()
    assert sum(sum(last.values()) for last in again) == 5 * 32 - 150


def test_sources_are_told_as_training_left_them(root: Path, found: dict[str, Any], page: Page) -> None:
    for arm in ARMS:
        told = json.loads((root / f"data/rollouts/{arm}/provenance.json").read_text())
        assert found["training"][arm]["sources"] == told
    cells = " ".join(page.text[page.text.index("Training prompts by who wrote") :].split())
    at = 0
    for arm, kind in [("program",) * 2, ("teacher",) * 2, ("mixed", "program"), ("mixed", "teacher")]:
        one = found["training"][arm]["sources"][f"worked by {kind} <b>"]
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


def test_without_rollouts_or_demonstrations_there_is_nothing_to_tell(tmp_path: Path) -> None:
    write_run(tmp_path, prompts=16, steps=2)
    path = tmp_path / "data/rollouts/program/provenance.json"
    told = json.loads(path.read_text())
    told["worked by program <b>"] |= dict.fromkeys(["solved_first", "solved_last", "nll_before"])
    write_json(path, told)
    write_json(tmp_path / "data/rollouts/teacher/provenance.json", {})
    text = Page(compare.run(params(), tmp_path)["page"].read_text(encoding="utf-8")).text
    cells = " ".join(text[text.index("Training prompts by who wrote") :].split())
    assert "\u2013 \u2013 \u2013 0.375" in cells
    assert "teacher no prompt with a demonstration came up mixed" in cells


def test_the_ledger_is_there_as_a_picture_and_as_numbers(root: Path, page: Page) -> None:
    rates = pq.read_table(root / "data/rollouts/base/pass_rates.parquet").to_pylist()
    hardest = {row["prompt_id"] for row in rates if row["pass_rate"] == 0}
    labels = [a.get("aria-label") or "" for tag, a in page.tags if tag == "svg"]
    numbers = " ".join(page.text[page.text.index("The ledger as numbers") :].split())
    for arm in ARMS:
        gate = pq.read_table(root / f"data/rollouts/{arm}/gate.parquet").to_pylist()
        rows = [row for row in gate if row["prompt_id"] in hardest]
        thirds = [
            words.percent(np.mean([row["route"] == "sft" for row in rows if first < row["step"] <= last]))
            for first, last in [(0, 17), (17, 33), (33, 50)]
        ]
        assert f"{arm} 0% {len(hardest)} {len(rows)} {' '.join(thirds)}" in numbers
        [said] = [label for label in labels if label.startswith(f"Ledger of {arm}. ")]
        assert f"{thirds[0]} to {thirds[2]} for {len(hardest)} prompts that base solves 0% of" in said
    assert "mixed ? 1 " in numbers  # the one that no rollout of base was judged of


def test_the_page_asks_for_nothing_from_outside(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("script", "img", "iframe", "object", "embed", "base")
        for key, value in attributes.items():
            assert not key.startswith("on")
            if key in ("href", "src", "action", "data"):
                assert value == "data:,"
    css = re.search(r"<style>(.*?)</style>", page.html, re.DOTALL)[1]
    assert "url(" not in css and "@import" not in css and "http" not in css


def test_what_a_model_wrote_is_shown_as_text(page: Page) -> None:
    assert HOSTILE.replace("\x1b", "\u241b") in page.text
    assert "<script" not in page.html and "<img" not in page.html and "\x1b" not in page.html


def test_names_cannot_break_a_chart() -> None:
    series = [Series('<b>"arm"</b>', 1, ((1, 0.0), (2, 1.0)))]
    svg = line_chart('a "quoted" <title>', series, str)
    assert "<b>" not in svg and Page(svg).tags[0][1]["aria-label"].startswith('a "quoted" <title>')


def test_the_page_shows_every_policy_and_every_verdict(page: Page, found: dict[str, Any]) -> None:
    for verdict in found["verdicts"]:
        assert verdict in page.text
    headings = [label for tag, a in page.tags if tag == "svg" and (label := a.get("aria-label"))]
    for arm in ARMS:
        accuracy = words.percent(found["benchmarks"]["held_out"]["accuracy"][arm]["avg_at_k"])
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


def test_same_files_same_bytes(root: Path, tmp_path: Path) -> None:
    write_run(tmp_path)
    compare.run(params(), tmp_path)
    for name in ("reports/provenance.html", "metrics/compare.json"):
        assert (tmp_path / name).read_bytes() == (root / name).read_bytes()


def test_sources_come_in_the_order_of_their_numbers(page: Page) -> None:
    assert page.text.index("sums level 9") < page.text.index("sums level 10")


def test_gate_shares_fill_the_chart() -> None:
    routes = {"sft": [0.75] * 200, "rl": [0.25] * 200}
    rects = [a for tag, a in Page(gate_chart("g", routes, list(range(1, 201)))).tags if tag == "rect"]
    heights = {
        route: sum(float(a["height"]) for a in rects if a["class"].endswith(route)) for route in routes
    }
    assert heights["sft"] == pytest.approx(3 * heights["rl"])
    assert len(rects) == 2 * 60


def test_pass_curves_are_drawn_with_their_bands(page: Page, found: dict[str, Any]) -> None:
    accuracy = found["benchmarks"]["held_out"]["accuracy"]
    [said] = [
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
            assert f"{value} ({interval}) at k = {one['k']}" in said
    assert sum("spread" in (a.get("class") or "") for _, a in page.tags) == len(ABILITY)


def test_a_pass_curve_goes_through_its_numbers() -> None:
    numbers = [
        {"k": k, "pass_at_k": 0.2 + 0.1 * i, "ci95": [0.1 + 0.1 * i, 0.35 + 0.1 * i]}
        for i, k in enumerate([1, 2, 4, 8, 12])
    ]
    tags = Page(pass_chart("p", [PassCurve("a <b>", 1, numbers)])).tags
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


def test_what_was_cut_short_and_how_long_responses_are(page: Page, found: dict[str, Any]) -> None:
    for policy, one in found["benchmarks"]["held_out"]["accuracy"].items():
        lengths = one["lengths"]
        row = [policy, words.percent(one["truncated"]), f"{one['mean_length']:.0f}"]
        row.append(", ".join(str(lengths[name]) for name in ("p10", "p50", "p90", "max")))
        cells = " ".join(page.text[page.text.index("Accuracy on held_out, with") :].split())
        at = 0
        for cell in row:
            at = cells.index(cell, at)


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


def test_a_missing_or_torn_file_is_named(tmp_path: Path) -> None:
    write_run(tmp_path, prompts=16, steps=2)
    log = tmp_path / "metrics/train/mixed.jsonl"
    whole = log.read_text()
    log.write_text(whole[:-30])
    with pytest.raises(InputError, match=r"mixed\.jsonl:2: .*dvc repro train@mixed"):
        compare.run(params(), tmp_path)
    log.write_text(whole)
    torn = tmp_path / "data/rollouts/mixed/provenance.json"
    torn.write_text(torn.read_text()[:-30])
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
    found = compare.run(params(), tmp_path)["comparison"]["benchmarks"]["held_out"]
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    summary.print_summary(console, tmp_path)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    cells = [line.split() for line in lines if line.split()]
    of_held_out = [row for row in cells if len(benchmarks) == 1 or row[1:2] == ["held_out"]]
    rows = {row[0]: " ".join(row) for row in of_held_out if row[0] in ABILITY}
    for policy in ABILITY:
        one = found["accuracy"][policy]
        assert words.percent(one["avg_at_k"]) in rows[policy] and words.interval(one["ci95"]) in rows[policy]
    assert words.signed(found["gain"]["teacher"]["difference"]) + "*" in rows["teacher"]
    assert " 268k " in rows["teacher"] and rows["teacher"].split()[-1] == "83"
    assert rows["program"].split()[-1] == "cached"
    assert any(line.startswith("On held_out, teacher beats program by ") for line in lines)
