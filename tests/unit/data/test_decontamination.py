"""Benchmark problems in training prompts: found as planted, and nothing else with them."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from curated_files import curated

from hpt_core.config import DecontaminationConfig, PromptSource
from hpt_core.data.decontamination import Index, Known, Match
from hpt_core.data.wording import wording

Source = Callable[..., PromptSource]
GSM8K = Path(os.environ.get("HPT_GSM8K", Path(__file__).resolve().parents[4] / "shared" / "data" / "gsm8k"))
HENS = (
    "Marta keeps 12 hens behind the old mill. Each hen lays 5 eggs in a week, and Marta sells them to the "
    "village school for 2 francs apiece. How much does she earn in 3 weeks?"
)
SHORT = "What is the sum of the positive divisors of 84?"


def index(*problems: str, **config: object) -> Index:
    known = [Known("bench", str(at), problem) for at, problem in enumerate(problems)]
    return Index(known, DecontaminationConfig.model_validate(config))


def match(among: Index, problem: str) -> Match | None:
    (found,) = among.match([problem], [wording(problem)])
    return found


@pytest.mark.parametrize(
    ("problem", "rule"),
    [
        (HENS.upper().rstrip("?"), "same_text"),
        (HENS.replace("12", "15").replace("3 weeks", "four weeks"), "same_wording"),
        (SHORT.replace("84", "360"), "same_wording"),
        (HENS[:80], "beginning"),
        (HENS[:83].replace("12", "9"), "beginning"),
        (f"Solve this step by step.\n\n{HENS} Put the answer in a box.", "shared_grams"),
        (HENS[60:], "shared_grams"),
        (f"Solve this. {SHORT} Box the answer.", "inside"),
        (HENS.replace("old mill", "new barn").replace("12", "10"), "shared_grams"),
    ],
)
def test_what_is_found(problem: str, rule: str) -> None:
    found = match(index("Another problem, of which nothing is in the prompt.", HENS, SHORT), problem)
    assert found is not None and found.rule == rule
    assert found.problem == (2 if "divisors" in problem else 1)
    assert 0.6 <= found.overlap <= 1.0


@pytest.mark.parametrize(
    "problem",
    [
        "Marta keeps 12 hens.",
        "What is the sum of the positive numbers below 84?",
        "Ben sells 12 loaves to the village school for 2 francs apiece. How much does he earn in 3 weeks?",
        f"Solve this. {SHORT.replace('84', '48')} Box the answer.",
        f"{SHORT[:-1]} that are below 20?",
        "3 + 4 = ?",
        "",
    ],
)
def test_what_is_not(problem: str) -> None:
    assert match(index(HENS, SHORT), problem) is None


def test_the_rules_are_parameters() -> None:
    half = HENS[30:] + " And then Peter comes along with a cart full of hay and asks the way to the town."
    assert match(index(HENS), half) is not None
    assert match(index(HENS, overlap=0.95), half) is None
    assert match(index(HENS, min_words=60), half) is None
    assert match(index(HENS, gram=40), half) is None


def test_the_wording_of_a_task_is_no_mark_of_a_problem() -> None:
    """More benchmark problems than max_problems share it; with fewer, a match is a match."""
    task = (
        "A farmer counts {} hens, {} ducks and {} geese behind the barn. How many birds does the farmer have?"
    )
    tasks = [task.format(n, n + 1, n + 2) for n in range(6)]
    assert match(index(*tasks[:5]), task.format(90, 91, 92)) is not None
    assert match(index(*tasks), task.format(90, 91, 92)) is None
    exact = match(index(*tasks), tasks[4])
    assert exact is not None and (exact.rule, exact.problem) == ("same_text", 4)


def test_spelling_and_sums_are_told_apart_whatever_the_benchmarks_size(prompts_of: Source) -> None:
    """Two problems of a task in a benchmark: training on the task shows that they are templates."""
    words = ("cat", "dog", "bird", "fish")
    rows = [(f"Spell this word backward (example: sun -> nus): {word}", word[::-1]) for word in words]
    sums = [(f"State the final answer to this arithmetic problem: {n} + 4 =", str(n + 4)) for n in range(30)]
    held = prompts_of("held", rows[0], sums[0])
    result = curated([prompts_of("train", *rows, *sums)], {"bench": [held]})
    assert result.dropped("train") == {"in_benchmark": 2}
    templates = result.report["contamination"]["templates"]
    assert [t["problem"] for t in templates] == [sums[0][0]]


def test_the_report_shows_the_pairs_and_the_quarantine_has_all(prompts_of: Source) -> None:
    filler = [(f"What is {n} plus 1?", str(n + 1)) for n in range(30)]
    train = prompts_of("train", *filler, (HENS.replace("12", "13"), "1"), (HENS, "360"), (HENS[:90], "2"))
    result = curated([train], {"bench": [prompts_of("held", (HENS, "360"), (SHORT, "224"))]})
    contamination = result.report["contamination"]
    assert contamination["benchmark_problems"] == {"bench": 2} and contamination["templates"] == []
    assert contamination["found"] == {"bench": {"beginning": 1, "same_text": 1, "same_wording": 1}}
    assert contamination["pairs_left_out"] == 0
    pairs = {pair["where"].rpartition(":")[2]: pair for pair in contamination["pairs"]}
    assert set(pairs) == {"31", "32", "33"}
    assert pairs["31"]["problem"] == HENS[:200] and pairs["31"]["training_problem"].startswith(
        "Marta keeps 13"
    )
    assert {(r["line"], r["reason"]) for r in result.quarantine} == {
        (31, "near_benchmark"),
        (32, "in_benchmark"),
        (33, "near_benchmark"),
    }
    detail = next(r["detail"] for r in result.quarantine if r["line"] == 31)
    assert "benchmark 'bench'" in detail and "but for its numbers" in detail


def _number_changed(problem: str, draw: random.Random) -> str:
    at = draw.choice(list(re.finditer(r"\d+", problem)))
    return f"{problem[: at.start()]}{int(at[0]) + draw.randint(1, 9)}{problem[at.end() :]}"


PLANTS: dict[str, tuple[Callable[[str, random.Random], str], float]] = {
    "verbatim": (lambda problem, _: problem, 1.0),
    "one number changed": (_number_changed, 1.0),
    "every number changed": (lambda p, draw: re.sub(r"\d+", lambda _: str(draw.randint(2, 999)), p), 1.0),
    "cut to three quarters": (lambda problem, _: problem[: len(problem) * 3 // 4], 1.0),
    "cut to a half": (lambda problem, _: problem[: len(problem) // 2], 0.999),
    "cut to a third": (lambda problem, _: problem[: len(problem) // 3], 0.99),
    "without its question": (lambda problem, _: re.sub(r"\s*[^.?!]*\?\s*$", "", problem), 0.97),
    "inside a longer prompt": (lambda problem, _: f"Solve this.\n{problem}\nBox the answer.", 1.0),
}
VARIANTS = {
    "Bella bought stamps at the post office.": "Max bought stamps at the post office.",
    "Emir wants to buy a dictionary": "Tyler wants to buy a dictionary",
    "A train travels 270 miles in 3 hours.": "A plane travels 1200 miles in 3 hours.",
    "A train travels 360 miles in 3 hours.": "A plane travels 1200 miles in 3 hours.",
}
"""Of 7,473 training problems those that are a test problem with other numbers and names (read one by one)."""


@pytest.fixture(scope="module")
def gsm8k() -> dict[str, list[str]]:
    if not (GSM8K / "test.jsonl").is_file():
        pytest.skip(f"no GSM8K at {GSM8K}: set HPT_GSM8K to a folder with train.jsonl and test.jsonl")
    files = {split: GSM8K / f"{split}.jsonl" for split in ("train", "test")}
    return {
        split: [json.loads(line)["question"] for line in file.open(encoding="utf-8")]
        for split, file in files.items()
    }


@pytest.mark.parametrize("plant", PLANTS)
def test_gsm8k_problems_are_found_as_planted(gsm8k: dict[str, list[str]], plant: str) -> None:
    change, recall = PLANTS[plant]
    draw = random.Random(plant)
    test = [problem for problem in gsm8k["test"] if re.search(r"\d", problem)]
    planted = [change(problem, draw) for problem in test]
    found = index(*test).match(planted, [wording(problem) for problem in planted])
    right = sum(m is not None and m.problem == at for at, m in enumerate(found))
    print(f"{plant}: {right} of {len(test)}")
    assert right >= recall * len(test)


def test_gsm8k_training_problems_are_kept(gsm8k: dict[str, list[str]]) -> None:
    """But for those that are a test problem with other numbers and names: the rate of false finds is 0."""
    train, test = gsm8k["train"], gsm8k["test"]
    found = index(*test).match(train, [wording(problem) for problem in train])
    pairs = {train[at]: test[m.problem] for at, m in enumerate(found) if m is not None}
    assert len(train) == 7473 and len(pairs) == len(VARIANTS)
    for ours, theirs in VARIANTS.items():
        assert [p for t, p in pairs.items() if t.startswith(ours) and p.startswith(theirs)], ours
