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

from hpt_core.config import CurateConfig, DecontaminationConfig, PromptSource
from hpt_core.data.curation.decontamination import Index, Known, Match
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


def index(*problems: str, **config: object) -> Index:
    known = [Known("bench", str(at), problem) for at, problem in enumerate(problems)]
    return Index(known, DecontaminationConfig.model_validate(config))


def match(among: Index, problem: str) -> Match | None:
    (found,) = among.match([problem], [normalized_text(problem)])
    return found


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


LEAK = f"Solve this.\n{HENS}\nBox the answer."


def sums(count: int) -> list[tuple[str, str]]:
    return [(f"What is {n} plus 1?", str(n + 1)) for n in range(count)]


@pytest.mark.parametrize("problem", [HENS, SHORT])
@pytest.mark.parametrize(("leaks", "others"), [(12, 50), (201, 3000)])
def test_a_problem_that_leaks_often_is_no_template(
    prompts_of: Source, problem: str, leaks: int, others: int
) -> None:
    """As it stands in the prompt, whether the prompts around it are copies or differ."""
    for asks in (["Box it."] * leaks, [f"Box it {n} times." for n in range(leaks)]):
        rows = [(f"Solve this.\n{problem}\n{ask}", "360") for ask in asks]
        result = curated(
            [prompts_of("t", *sums(others), *rows)], {"bench": [prompts_of("held", (problem, "360"))]}
        )
        assert result.dropped("t") == {"near_benchmark": leaks}
        assert result.report["contamination"]["found"] == {"bench": {"inside": leaks}}
        assert result.report["contamination"]["templates"] == []


def test_copies_of_a_changed_problem_make_no_template(prompts_of: Source) -> None:
    changed = HENS.replace("old mill", "new barn")
    held = {"bench": [prompts_of("held", (HENS, "360"))]}
    result = curated([prompts_of("t", *sums(50), *[(changed, "360")] * 12)], held)
    assert result.dropped("t") == {"near_benchmark": 12}
    assert result.report["contamination"]["templates"] == []


@pytest.mark.parametrize("ask", ["\nPlease reason step by step.", " Box the answer.", ""])
@pytest.mark.parametrize("lead", ["", "Solve this.\n", "Question: "])
@pytest.mark.parametrize(
    "problem",
    [
        "Find the roots of the cubic $(2x - 10)^3.$",
        "Compute the sum\n\\[\\frac{1}{2} + \\frac{1}{4}.\\]",
        "Express $555_{10}$ in base $5$.",
        "$441+2(21)(19)+361=x$. Solve for $x$.",
    ],
)
def test_an_instruction_hides_no_problem(problem: str, lead: str, ask: str) -> None:
    found = match(index(problem), f"{lead}{problem}{ask}")
    assert found is not None and found.rule == ("inside" if lead or ask else "same_text")


def test_local_benchmarks_are_found_with_instructions() -> None:
    """But for two, of three different words and numbers."""
    files = sorted(BENCHMARKS.glob("*/test.json"))
    if not files:
        pytest.skip(f"no benchmarks at {BENCHMARKS}: set HPT_BENCHMARKS to a folder with NAME/test.json")
    problems = [row["prompt"] for file in files for row in json.loads(file.read_text(encoding="utf-8"))]
    among = index(*problems)
    for before, after in (("", "\nPlease reason step by step."), ("Solve this.\n", ""), ("Q: ", "\nA:")):
        asked = [f"{before}{problem}{after}" for problem in problems]
        found = among.match(asked, [normalized_text(problem) for problem in asked])
        missed = [problem for problem, m in zip(problems, found, strict=True) if m is None]
        assert missed == [r"Simplify $\sqrt{242}$.", r"Evaluate $\log_264$."]


def test_problems_to_compare_with_only(prompts_of: Source, jsonl: Callable[..., Path]) -> None:
    asked = jsonl("asked.jsonl", {"problem": HENS}, {"problem": " "})
    told = jsonl("told.jsonl", {"question": SHORT})
    against = [str(asked), {"name": "told", "file": str(told), "columns": {"problem": "question"}}]
    train = prompts_of("t", *sums(50), (HENS, "360"), (f"{SHORT} Box it.", "224"), ("Half of 9?", "4.5"))
    held = {"bench": [prompts_of("held", ("Half of 9?", "4.5"))]}
    result = curated([train], held, decontamination={"against": against})
    assert result.dropped("t") == {"in_benchmark": 2, "near_benchmark": 1}
    assert set(result.benchmarks) == {"bench"}
    contamination = result.report["contamination"]
    assert contamination["benchmark_problems"] == {"bench": 1, str(asked): 1, "told": 1}
    assert contamination["found"] == {
        "bench": {"same_text": 1},
        str(asked): {"same_text": 1},
        "told": {"inside": 1},
    }
    compared = result.report["sources"]["against"]
    assert compared[str(asked)] == {"in": 2, "kept": 1, "dropped": {"empty_problem": 1}}
    assert curated([train], held).dropped("t") == {"in_benchmark": 1}


def test_what_to_compare_with_is_named(prompts_of: Source) -> None:
    train = [prompts_of("t", *sums(5))]

    def config(against: object) -> CurateConfig:
        rules = {"gram": 8, "against": against}
        return CurateConfig(
            train=train,
            benchmarks={"bench": train},
            dev_size=1,
            max_problem_chars=9,
            decontamination=DecontaminationConfig.model_validate(rules),
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
    found = index(*test).match(planted, [normalized_text(problem) for problem in planted])
    right = sum(m is not None and m.problem == at for at, m in enumerate(found))
    print(f"{plant}: {right} of {len(test)}")
    assert right >= recall * len(test)


def test_gsm8k_training_problems_are_kept(gsm8k: dict[str, list[str]]) -> None:
    """But for those that are a test problem with other numbers and names: the rate of false finds is 0."""
    train, test = gsm8k["train"], gsm8k["test"]
    found = index(*test).match(train, [normalized_text(problem) for problem in train])
    pairs = {train[at]: test[m.problem] for at, m in enumerate(found) if m is not None}
    assert len(train) == 7473 and len(pairs) == len(VARIANTS)
    for ours, theirs in VARIANTS.items():
        assert [p for t, p in pairs.items() if t.startswith(ours) and p.startswith(theirs)], ours
