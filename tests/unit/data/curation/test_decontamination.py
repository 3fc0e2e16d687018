"""Benchmark problems in training prompts: planted ones are found, and nothing else is."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from curated_files import curated

from hpt_core.config import CurateConfig, DecontaminationConfig, PromptSource
from hpt_core.data.curation.decontamination import BenchmarkIndex, BenchmarkProblem, Match
from hpt_core.data.curation.text_normalize import normalized_text

Source = Callable[..., PromptSource]
DATA = Path(__file__).resolve().parents[5] / "shared" / "data"
GSM8K = Path(os.environ.get("HPT_GSM8K", DATA / "gsm8k"))
BENCHMARKS = Path(os.environ.get("HPT_BENCHMARKS", DATA / "benchmarks"))
HENS = (
    "Marta keeps 12 hens behind the old mill. Each hen lays 5 eggs in a week, and Marta sells them to the "
    "village school for 2 francs apiece. How much does she earn in 3 weeks?"
)
SHORT = "What is the sum of the positive divisors of 84?"


def index(*problems: str, **config: object) -> BenchmarkIndex:
    benchmark_problems = [BenchmarkProblem("bench", str(i), problem) for i, problem in enumerate(problems)]
    return BenchmarkIndex(benchmark_problems, DecontaminationConfig.model_validate(config))


def match(benchmarks: BenchmarkIndex, problem: str) -> Match | None:
    (result,) = benchmarks.match([problem], [normalized_text(problem)])
    return result


@pytest.mark.parametrize(
    ("problem", "rule"),
    [
        (HENS.upper().rstrip("?"), "same_text"),
        (HENS.replace("12", "15").replace("3 weeks", "four weeks"), "same_wording"),
        (SHORT.replace("84", "360"), "same_wording"),
        (HENS[:80], "beginning"),
        (HENS[:83].replace("12", "9"), "beginning"),
        (f"Solve this step by step.\n\n{HENS} Put the answer in a box.", "inside"),
        (f"Solve this.\n{HENS.replace('12', '15')}\nBox the answer.", "shared_grams"),
        (HENS[60:], "shared_grams"),
        (f"Solve this. {SHORT} Box the answer.", "inside"),
        (HENS.replace("old mill", "new barn").replace("12", "10"), "shared_grams"),
    ],
)
def test_matches(problem: str, rule: str) -> None:
    result = match(index("Another problem, of which nothing is in the prompt.", HENS, SHORT), problem)
    assert result is not None and result.rule == rule
    assert result.problem == (2 if "divisors" in problem else 1)
    assert 0.6 <= result.overlap <= 1.0


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
def test_other_problems_do_not_match(problem: str) -> None:
    assert match(index(HENS, SHORT), problem) is None


def test_the_rules_are_parameters() -> None:
    half = HENS[30:] + " And then Peter comes along with a cart full of hay and asks the way to the town."
    assert match(index(HENS), half) is not None
    assert match(index(HENS, overlap=0.95), half) is None
    assert match(index(HENS, min_words=60), half) is None
    assert match(index(HENS, gram=40), half) is None


def test_the_phrasing_of_a_task_does_not_identify_a_problem() -> None:
    """A text without numbers that more than max_problems benchmark problems share matches nothing."""
    task = (
        "A farmer counts {} hens, {} ducks and {} geese behind the barn. How many birds does the farmer have?"
    )
    tasks = [task.format(n, n + 1, n + 2) for n in range(6)]
    assert match(index(*tasks[:5]), task.format(90, 91, 92)) is not None
    assert match(index(*tasks), task.format(90, 91, 92)) is None
    exact = match(index(*tasks), tasks[4])
    assert exact is not None and (exact.rule, exact.problem) == ("same_text", 4)


def test_problems_of_a_task_are_distinguished_in_a_benchmark_of_any_size(prompts_of: Source) -> None:
    """A benchmark has one problem of each task; the training prompts show that it is a template."""
    words = ("cat", "dog", "bird", "fish")
    rows = [(f"Spell this word backward (example: sun -> nus): {word}", word[::-1]) for word in words]
    sums = [(f"State the final answer to this arithmetic problem: {n} + 4 =", str(n + 4)) for n in range(30)]
    benchmark = prompts_of("held", rows[0], sums[0])
    result = curated([prompts_of("train", *rows, *sums)], {"bench": [benchmark]})
    assert result.dropped("train") == {"in_benchmark": 2}
    templates = result.report["contamination"]["templates"]
    assert [t["problem"] for t in templates] == [sums[0][0]]


LEAK = f"Solve this.\n{HENS}\nBox the answer."


def sums(count: int) -> list[tuple[str, str]]:
    return [(f"What is {n} plus 1?", str(n + 1)) for n in range(count)]


@pytest.mark.parametrize("problem", [HENS, SHORT])
@pytest.mark.parametrize(("leaks", "others"), [(12, 50), (201, 3000)])
def test_a_problem_that_leaks_often_is_no_template(
    prompts_of: Source, problem: str, leaks: int, others: int
) -> None:
    """The prompts contain it unchanged, and are either copies of each other or different."""
    for instructions in (["Box it."] * leaks, [f"Box it {n} times." for n in range(leaks)]):
        rows = [(f"Solve this.\n{problem}\n{instruction}", "360") for instruction in instructions]
        result = curated(
            [prompts_of("t", *sums(others), *rows)], {"bench": [prompts_of("held", (problem, "360"))]}
        )
        assert result.dropped("t") == {"near_benchmark": leaks}
        assert result.report["contamination"]["found"] == {"bench": {"inside": leaks}}
        assert result.report["contamination"]["templates"] == []


def test_copies_of_a_changed_problem_make_no_template(prompts_of: Source) -> None:
    changed = HENS.replace("old mill", "new barn")
    benchmarks = {"bench": [prompts_of("held", (HENS, "360"))]}
    result = curated([prompts_of("t", *sums(50), *[(changed, "360")] * 12)], benchmarks)
    assert result.dropped("t") == {"near_benchmark": 12}
    assert result.report["contamination"]["templates"] == []


@pytest.mark.parametrize("after", ["\nPlease reason step by step.", " Box the answer.", ""])
@pytest.mark.parametrize("before", ["", "Solve this.\n", "Question: "])
@pytest.mark.parametrize(
    "problem",
    [
        "Find the roots of the cubic $(2x - 10)^3.$",
        "Compute the sum\n\\[\\frac{1}{2} + \\frac{1}{4}.\\]",
        "Express $555_{10}$ in base $5$.",
        "$441+2(21)(19)+361=x$. Solve for $x$.",
    ],
)
def test_an_instruction_hides_no_problem(problem: str, before: str, after: str) -> None:
    result = match(index(problem), f"{before}{problem}{after}")
    assert result is not None and result.rule == ("inside" if before or after else "same_text")


def test_local_benchmarks_are_found_with_instructions() -> None:
    """All are found but two, which have three different words and numbers."""
    files = sorted(BENCHMARKS.glob("*/test.json"))
    if not files:
        pytest.skip(f"no benchmarks at {BENCHMARKS}: set HPT_BENCHMARKS to a folder with NAME/test.json")
    problems = [row["prompt"] for file in files for row in json.loads(file.read_text(encoding="utf-8"))]
    benchmarks = index(*problems)
    for before, after in (("", "\nPlease reason step by step."), ("Solve this.\n", ""), ("Q: ", "\nA:")):
        prompts = [f"{before}{problem}{after}" for problem in problems]
        matches = benchmarks.match(prompts, [normalized_text(prompt) for prompt in prompts])
        missed = [problem for problem, result in zip(problems, matches, strict=True) if result is None]
        assert missed == [r"Simplify $\sqrt{242}$.", r"Evaluate $\log_264$."]


def test_problems_that_are_only_compared_with(prompts_of: Source, jsonl: Callable[..., Path]) -> None:
    unnamed = jsonl("unnamed.jsonl", {"problem": HENS}, {"problem": " "})
    named = jsonl("named.jsonl", {"question": SHORT})
    against = [str(unnamed), {"name": "named", "file": str(named), "columns": {"problem": "question"}}]
    train = prompts_of("t", *sums(50), (HENS, "360"), (f"{SHORT} Box it.", "224"), ("Half of 9?", "4.5"))
    benchmarks = {"bench": [prompts_of("held", ("Half of 9?", "4.5"))]}
    result = curated([train], benchmarks, decontamination={"against": against})
    assert result.dropped("t") == {"in_benchmark": 2, "near_benchmark": 1}
    assert set(result.benchmarks) == {"bench"}
    contamination = result.report["contamination"]
    assert contamination["benchmark_problems"] == {"bench": 1, str(unnamed): 1, "named": 1}
    assert contamination["found"] == {
        "bench": {"same_text": 1},
        str(unnamed): {"same_text": 1},
        "named": {"inside": 1},
    }
    compared = result.report["sources"]["against"]
    assert compared[str(unnamed)] == {"in": 2, "kept": 1, "dropped": {"empty_problem": 1}}
    assert curated([train], benchmarks).dropped("t") == {"in_benchmark": 1}


def test_sources_of_against_are_named(prompts_of: Source) -> None:
    train = [prompts_of("t", *sums(5))]

    def config(against: object) -> CurateConfig:
        keys = {"gram": 8, "against": against}
        return CurateConfig(
            train=train,
            benchmarks={"bench": train},
            dev_size=1,
            max_problem_chars=9,
            decontamination=DecontaminationConfig.model_validate(keys),
        )

    (aime,) = config(["aime24"]).decontamination.against
    assert (aime.name, aime.hub, aime.columns) == ("aime24", "math-ai/aime24", {})
    with pytest.raises(ValueError, match=r"repeats \['bench'\] of benchmarks"):
        config([{"name": "bench", "file": "b.jsonl"}])


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
    number = draw.choice(list(re.finditer(r"\d+", problem)))
    return f"{problem[: number.start()]}{int(number[0]) + draw.randint(1, 9)}{problem[number.end() :]}"


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
"""Beginnings of the training problems, among 7,473, that are a test problem with other numbers and names, and
of these test problems (found by reading the matches)."""


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
    change, least_recall = PLANTS[plant]
    draw = random.Random(plant)
    test = [problem for problem in gsm8k["test"] if re.search(r"\d", problem)]
    planted = [change(problem, draw) for problem in test]
    matches = index(*test).match(planted, [normalized_text(problem) for problem in planted])
    right = sum(result is not None and result.problem == i for i, result in enumerate(matches))
    print(f"{plant}: {right} of {len(test)}")
    assert right >= least_recall * len(test)


def test_gsm8k_training_problems_are_kept(gsm8k: dict[str, list[str]]) -> None:
    """The only matches are the VARIANTS, which are test problems, so the rate of false matches is 0."""
    train, test = gsm8k["train"], gsm8k["test"]
    matches = index(*test).match(train, [normalized_text(problem) for problem in train])
    pairs = {train[i]: test[result.problem] for i, result in enumerate(matches) if result is not None}
    assert len(train) == 7473 and len(pairs) == len(VARIANTS)
    for train_start, test_start in VARIANTS.items():
        assert any(a.startswith(train_start) and b.startswith(test_start) for a, b in pairs.items()), (
            train_start
        )
