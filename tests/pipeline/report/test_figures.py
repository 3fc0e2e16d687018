"""The figures as SVG files: each stands alone, is described, has the numbers, and is the same every time."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from comparison_files import ABILITY, ARMS, params, write_run

from pipelines import compare
from pipelines.report import words
from pipelines.report.figures import arm_figures, figures
from pipelines.report.standalone import svg_file
from pipelines.report.svg import Figure, text

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    write_run(path)
    compare.run(params(), path)
    return path


@pytest.fixture(scope="module")
def files(root: Path) -> dict[str, str]:
    return {f"{arm}/{name}": svg for arm in ARMS for name, svg in arm_figures(root, arm).items()} | figures(
        root
    )


def description(svg: str) -> str:
    return ElementTree.fromstring(svg).findtext(f"{SVG}desc") or ""


def test_there_is_a_figure_for_each_question(root: Path) -> None:
    curves = ["dev_accuracy", "entropy", "offline_share", "reward_mean"]
    evaluation = ["accuracy-held_out", "sources-held_out", "pass_at_k-held_out"]
    assert sorted(figures(root)) == sorted([*evaluation, "gate", *curves, "nll_program", "nll_teacher"])
    assert sorted(arm_figures(root, "teacher")) == sorted(["gate", "nll_teacher", *curves])


def test_every_figure_is_a_described_svg_without_references(files: dict[str, str]) -> None:
    for svg in files.values():
        drawing = ElementTree.fromstring(svg)
        assert drawing.tag == f"{SVG}svg" and drawing.get("role") == "img"
        assert drawing.findtext(f"{SVG}title") and description(svg)
        names = {name for part in drawing.iter() for name in part.attrib}
        assert not {name for name in names if "href" in name or name.startswith("on")}
        assert not re.search(r"url\(|@import|<script|<foreignObject", svg)


def test_every_class_has_a_style_in_light_and_dark(files: dict[str, str]) -> None:
    for svg in files.values():
        drawing = ElementTree.fromstring(svg)
        style = drawing.findtext(f"{SVG}style") or ""
        light, dark = style.split("@media screen and (prefers-color-scheme: dark)")
        colours = set(re.findall(r"(--[\w-]+): #", light))
        assert colours == set(re.findall(r"(--[\w-]+): #", dark.split("@media print")[0]))
        assert set(re.findall(r"var\((--[\w-]+)", style)) <= colours | {"--c", "--r"}
        used = {name for part in drawing.iter() for name in part.get("class", "").split()}
        assert used - {"label"} <= set(re.findall(r"\.([a-z][\w-]*)", style))


def test_the_figures_have_the_numbers(root: Path, files: dict[str, str]) -> None:
    for policy in ABILITY:
        metrics = json.loads((root / f"metrics/eval/{policy}.json").read_text())["held_out"]
        accuracy, interval = words.percent(metrics["avg_at_k"]), words.interval(metrics["ci95"])
        assert f"{policy} {accuracy}, {interval}" in description(files["accuracy-held_out"])
        assert f">{accuracy}</text>" in files["accuracy-held_out"]
        last = metrics["pass_curve"][-1]
        numbers = f"{words.percent(last['pass_at_k'])} ({words.interval(last['ci95'])}) at k = {last['k']}"
        assert numbers in description(files["pass_at_k-held_out"])
    for arm in ARMS:
        routes = json.loads((root / "metrics/compare.json").read_text())["training"][arm]["routes"]
        share = f"rl {words.percent(routes['rl'] / sum(routes.values()))}"
        assert share in description(files[f"{arm}/gate"])
        assert f"Gate decisions of {arm}. " in description(files["gate"]) and share in description(
            files["gate"]
        )
        assert f"Gate history of {arm}. " in description(files[f"{arm}/gate"])


def test_figures_whose_chart_has_no_names_have_a_legend(files: dict[str, str]) -> None:
    texts = {
        name: [part.text for part in ElementTree.fromstring(svg).iter(f"{SVG}text")]
        for name, svg in files.items()
    }
    assert set(ABILITY) <= set(texts["sources-held_out"])
    assert any((label or "").startswith("sft, program: train on a program's") for label in texts["gate"])
    assert "sft: train on the demonstration" in texts["teacher/gate"]


def test_same_files_same_figures(root: Path, files: dict[str, str], tmp_path: Path) -> None:
    write_run(tmp_path)
    compare.run(params(), tmp_path)
    again = {f"{arm}/{name}": svg for arm in ARMS for name, svg in arm_figures(tmp_path, arm).items()}
    assert again | figures(tmp_path) == files


def test_an_arm_has_its_figures_before_any_comparison(root: Path, tmp_path: Path) -> None:
    write_run(tmp_path)
    assert figures(tmp_path) == {}
    assert arm_figures(tmp_path, "mixed") == arm_figures(root, "mixed")


def test_control_characters_do_not_break_the_file() -> None:
    svg = svg_file([Figure("a <b> & \x1b", "\x00", 20, [text("\x08 é", 0, 0)])])
    assert ElementTree.fromstring(svg).findtext(f"{SVG}title") == "a <b> & \ufffd"
