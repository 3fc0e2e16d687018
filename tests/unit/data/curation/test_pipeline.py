"""Curation: filters of a row, each problem in one split, disjoint splits, and counts that add up."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from curated_files import Curated, curated

from hpt_core.config import CurateConfig, PromptSource
from hpt_core.data.curation.decontamination import BenchmarkIndex
from hpt_core.data.curation.pipeline import curate
from hpt_core.data.curation.splits import check_disjoint
from hpt_core.data.problems import final_number, normalise, overlap_key, prompt_id
from hpt_core.errors import InputError
from hpt_core.types import Prompt

Source = Callable[..., PromptSource]
FILLER = [(f"What is {n} plus 1?", str(n + 1)) for n in range(20)]


def run(train: list[PromptSource], bench: list[PromptSource], **more: Any) -> Curated:
    return curated(train, {"bench": bench}, **{"max_problem_chars": 200} | more)


def reasons(result: Curated) -> list[tuple[int, str]]:
    return [(row["line"], row["reason"]) for row in result.quarantine]


def problems(prompts: list[Prompt]) -> set[str]:
    return {prompt.problem for prompt in prompts}


@pytest.fixture
def bench(prompts_of: Source) -> PromptSource:
    return prompts_of("bench", ("Capital of France?", "Paris"))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("a  b\n c ", "a b c", True),
        ("ﬁve\u00a0apples", "five apples", True),
        ("cafe\u0301", "café", True),
        ("What is 2⁵?", "What is 25?", False),
        ("What is x₁2?", "What is x12?", False),
        ("1½ cups", "11/2 cups", False),
        ("Spell backward: Polish", "Spell backward: polish", False),
        ("5 + 3", "5 - 3", False),
    ],
)
def test_prompt_id_depends_on_the_normalised_problem(a: str, b: str, same: bool) -> None:
    assert (prompt_id(a) == prompt_id(b)) is same
    assert normalise(normalise(a)) == normalise(a) or not same
    assert len(prompt_id(a)) == 16 and int(prompt_id(a), 16) >= 0


def test_prompt_id_never_changes() -> None:
    # Expert files refer to prompts by id, so another rule would make them useless.
    assert prompt_id("What is 1 + 1?") == "72f8917549de2d6d"


def test_overlap_key_ignores_case_quotes_and_a_closing_mark() -> None:
    assert overlap_key("Say “Hi”, Bob.") == overlap_key('say "hi",  bob')
    assert overlap_key("5 + 3") != overlap_key("5 - 3")


@pytest.mark.parametrize(
    ("solution", "number"),
    [
        ("He pays <<4*18=72>>72.\n#### 72", "72"),
        ("so 9 * 2 = 18\nA: $1,018.", "1018"),
        ("#### -3.5", "-3.5"),
        ("70,000", "70000"),
        ("72 of 80 left", None),
        ("#### 72\nand that is all", None),
        ("no number\n#### seventy", None),
        ("  ", None),
    ],
)
def test_final_number(solution: str, number: str | None) -> None:
    assert final_number(solution) == number


def test_the_filters_of_a_row(jsonl: Callable[..., Path], bench: PromptSource) -> None:
    def row(problem: str, answer: str) -> dict[str, str]:
        return {"problem": problem, "answer": answer}

    path = jsonl(
        "gsm.jsonl",
        *(row(*pair) for pair in FILLER),
        row("Half of 144?", "144/2 = <<144/2=72>>72\n#### 72"),
        row("  ", "#### 1"),
        row("Empty?", " "),
        row("x" * 201, "#### 1"),
        row("Unreadable?", "#### many"),
        b"{oops",
    )
    source = PromptSource(name="gsm", file=str(path), answer_kind="gsm8k", license="mit")
    result = run([source], [bench])
    assert reasons(result) == [
        (22, "empty_problem"),
        (23, "empty_answer"),
        (24, "problem_too_long"),
        (25, "unreadable_answer"),
        (26, "malformed_json"),
    ]
    assert all(row["file"] == str(path) and row["detail"] and row["row"] for row in result.quarantine)
    (half,) = [p for p in result.kept if p.problem == "Half of 144?"]
    assert half == Prompt(prompt_id("Half of 144?"), "Half of 144?", "72", "gsm8k", "gsm", "mit")
    counts = result.report["sources"]["train"]["gsm"]
    assert (counts["in"], counts["kept"], sum(counts["dropped"].values())) == (26, 21, 5)


def test_an_answer_that_the_verifier_cannot_read_is_quarantined(
    prompts_of: Source, bench: PromptSource
) -> None:
    source = prompts_of(
        "mcq", ("Which?", "C"), ("Which one?", "none of them"), ("Which two?", "(B)"), kind="choice"
    )
    result = run([source], [bench], dev_size=1)
    assert reasons(result) == [(2, "unreadable_answer")]


def test_an_unknown_kind_names_its_source(prompts_of: Source, bench: PromptSource) -> None:
    with pytest.raises(InputError, match=r"'odd'.*'maths'.*gsm8k"):
        run([prompts_of("odd", *FILLER, kind="maths")], [bench])


def test_repeats_are_kept_once_and_contradictions_are_all_dropped(
    prompts_of: Source, bench: PromptSource
) -> None:
    first = prompts_of("one", *FILLER, ("Twice?", "72"), ("Odd?", "1"), ("Twice? ", "72.0"))
    second = prompts_of("two", ("Odd?", "2"), ("Twice?", "72"), ("Odd?", "1"))
    result = run([first, second], [bench])
    assert Counter(row["reason"] for row in result.quarantine) == {
        "duplicate": 2,
        "conflicting_answers": 3,
    }
    kept = [p for p in result.kept if p.problem in ("Twice?", "Odd?")]
    assert [(p.problem, p.source) for p in kept] == [("Twice?", "one")]
    assert f"{first.file}:21" in next(r["detail"] for r in result.quarantine if r["reason"] == "duplicate")
    conflict = next(r["detail"] for r in result.quarantine if r["reason"] == "conflicting_answers")
    assert "'1'" in conflict and "'2'" in conflict and f"{second.file}:1" in conflict


def test_case_makes_a_different_problem_not_a_contradiction(prompts_of: Source, bench: PromptSource) -> None:
    pair = [("Spell backward: Polish", "hsiloP"), ("Spell backward: polish", "hsilop")]
    result = run([prompts_of("words", *FILLER, *pair)], [bench], dev_size=1, seed=1)
    assert problems(result.train) >= {problem for problem, _ in pair}


def test_a_benchmark_problem_is_never_trained_on(jsonl: Callable[..., Path], prompts_of: Source) -> None:
    # The third is too long to train on; benchmarks have no such limit.
    benchmark = prompts_of(
        "held", ("What is 3 plus 1?", "4"), ("WHAT IS 7 PLUS 1", "8"), (f"Long {'x' * 300}", "1")
    )
    train = prompts_of("train", *FILLER, (f"long {'x' * 300}", "1"), ("What is 3 plus 1?", "5"))
    result = run([train], [benchmark], max_problem_chars=300)
    assert sorted(reasons(result)) == [
        (4, "in_benchmark"),
        (8, "in_benchmark"),
        (21, "problem_too_long"),
        (22, "in_benchmark"),
    ]
    assert not problems(result.kept) & {"What is 3 plus 1?", "What is 7 plus 1?"}
    assert len(result.benchmarks["bench"]) == 3
    longer = run([train], [benchmark], max_problem_chars=305)
    assert (21, "in_benchmark") in reasons(longer)


def test_a_benchmark_keeps_every_row(prompts_of: Source) -> None:
    rows = [("1+1?", "2"), (f"Long {'x' * 300}", "1"), ("Сколько будет 2 + 2?", "4"), ("1+1?  ", "2")]
    limits = {"min_problem_chars": 10, "max_problem_chars": 40, "scripts": ["Latin"]}
    result = run([prompts_of("t", *FILLER)], [prompts_of("held", *rows)], **limits)
    assert [prompt.problem for prompt in result.benchmarks["bench"]] == [problem for problem, _ in rows[:3]]
    assert reasons(result) == [(4, "duplicate")]
    assert result.report["benchmarks"] == {"bench": {"rows": 4, "kept": 3, "merged": 1, "left_out": {}}}


def test_a_benchmark_that_lacks_rows_is_refused(prompts_of: Source) -> None:
    """Unless the parameters say how many of its rows cannot be used."""
    usable = [(f"Half of {n}?", str(n)) for n in range(6)]
    others = [("Which?", " "), ("Odd?", "1"), ("Odd?", "2"), ("Half of 0?", "0")]
    benchmark, train = prompts_of("held", *usable, *others), [prompts_of("t", *FILLER)]
    with pytest.raises(InputError) as raised:
        run(train, [benchmark])
    message = str(raised.value)
    assert message.startswith("benchmark 'bench': 3 of 10 rows cannot be used")
    assert "curate.incomplete: {bench: 3}" in message and f"{benchmark.file}:7: empty_answer" in message
    assert f"{benchmark.file}:8: conflicting_answers" in message and "duplicate" not in message
    with pytest.raises(InputError, match="3 of 10 rows"):
        run(train, [benchmark], incomplete={"bench": 2})
    result = run(train, [benchmark], incomplete={"bench": 3})
    left_out = {"conflicting_answers": 2, "empty_answer": 1}
    assert result.report["benchmarks"] == {
        "bench": {"rows": 10, "kept": 6, "merged": 1, "left_out": left_out}
    }
    assert len(result.benchmarks["bench"]) == 6
    with pytest.raises(ValueError, match=r"incomplete names \['bent'\]; benchmarks has \['bench'\]"):
        run(train, [benchmark], incomplete={"bent": 1})


def test_dev_depends_on_the_seed_and_not_on_the_order(prompts_of: Source, bench: PromptSource) -> None:
    forward, backward = prompts_of("f", *FILLER), prompts_of("b", *reversed(FILLER))
    dev = problems(run([forward], [bench]).dev)
    assert len(dev) == 3
    assert dev == problems(run([backward], [bench]).dev)
    assert any(dev != problems(run([forward], [bench], seed=seed).dev) for seed in (1, 2, 3))


def test_a_near_repeat_of_a_dev_prompt_is_not_trained_on(prompts_of: Source, bench: PromptSource) -> None:
    doubled = [pair for problem, answer in FILLER for pair in ((problem, answer), (problem.upper(), answer))]
    result = run([prompts_of("d", *doubled)], [bench], dev_size=5, near_duplicates=None)
    dev = {overlap_key(problem) for problem in problems(result.dev)}
    assert not dev & {overlap_key(problem) for problem in problems(result.train)}
    dropped = result.report["sources"]["train"]["d"]["dropped"]
    assert dropped == {"in_dev": 2 * len(dev) - 5} and dropped["in_dev"] > 0


def test_every_row_is_kept_or_counted_as_dropped(prompts_of: Source, bench: PromptSource) -> None:
    train = [
        prompts_of("a", *FILLER, *FILLER[:4], ("Capital of France?", "Paris")),
        prompts_of("b", ("", "1")),
    ]
    result = run(train, [bench])
    sources = result.report["sources"]
    for counts in (*sources["train"].values(), *sources["benchmark:bench"].values()):
        assert counts["in"] == counts["kept"] + sum(counts["dropped"].values())
    assert sources["train"]["a"] == {"in": 25, "kept": 20, "dropped": {"duplicate": 4, "in_benchmark": 1}}
    assert len(result.train) + len(result.dev) == 20
    assert len(result.quarantine) == result.report["sizes"]["quarantine"] == 6
    assert result.report["checks"] == {"disjoint": True}


def prompt(problem: str) -> Prompt:
    return Prompt(prompt_id(problem), problem, "1", "exact", "s", "mit")


@pytest.mark.parametrize("twin", ["Same?", "same", " Same?"])
@pytest.mark.parametrize("pair", [("train", "dev"), ("train", "benchmarks"), ("dev", "benchmarks")])
def test_the_check_fails_on_any_shared_problem(pair: tuple[str, str], twin: str) -> None:
    splits: dict[str, list[Prompt]] = {
        "train": [prompt("a")],
        "dev": [prompt("b")],
        "benchmarks": [prompt("c")],
    }
    assert check_disjoint(splits["train"], splits["dev"], {"x": splits["benchmarks"]})
    splits[pair[0]].append(prompt("Same?"))
    splits[pair[1]].append(prompt(twin))
    with pytest.raises(InputError, match=rf"stands in {pair[0]} and in {pair[1]}.*params\.yaml"):
        check_disjoint(splits["train"], splits["dev"], {"x": splits["benchmarks"]})


def test_curate_runs_the_check(
    prompts_of: Source, bench: PromptSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    # When the filter is broken, only this check finds the leak.
    monkeypatch.setattr(BenchmarkIndex, "match", lambda self, problems, texts: [None] * len(problems))
    leak = prompts_of("leak", *FILLER, ("Capital of France?", "Paris"))
    with pytest.raises(InputError, match="Capital of France"):
        run([leak], [bench], dev_size=1)


@pytest.mark.parametrize(
    ("size", "names", "message"),
    [(20, ("t",), "no prompt is left to train on.*'t'.*dev_size"), (3, ("t", "t"), "two sources named 't'")],
)
def test_unusable_settings_name_the_key(
    prompts_of: Source, bench: PromptSource, size: int, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run([prompts_of(name, *FILLER) for name in names], [bench], dev_size=size)


def test_an_empty_benchmark_names_itself(prompts_of: Source) -> None:
    with pytest.raises(
        InputError, match=r"benchmark 'bench' has no usable prompt.*empty_answer.*curate\.benchmarks"
    ):
        run([prompts_of("t", *FILLER)], [prompts_of("e", ("Q?", ""))])


def test_answers_keep_the_metadata_that_a_scorer_reads(bench: PromptSource) -> None:
    task = PromptSource(name="c", reasoning_gym="countdown", size=8, seed=1)
    result = run([task], [bench], dev_size=1, max_problem_chars=2000)
    assert len(result.train) == 7
    assert all('"metadata"' in p.answer and p.answer_kind == "reasoning_gym:countdown" for p in result.train)


def test_a_source_that_changed_under_its_name_has_another_content_hash(
    prompts_of: Source, bench: PromptSource
) -> None:
    def content(*pairs: tuple[str, str]) -> str:
        return str(run([prompts_of("t", *pairs)], [bench]).report["content"]["train"]["t"])

    assert content(*FILLER) == content(*FILLER)
    changed = [*FILLER[:-1], (FILLER[-1][0], "21")]
    assert len({content(*FILLER), content(*changed), content(*reversed(FILLER))}) == 3


def test_the_report_is_bounded_and_the_quarantine_is_not(prompts_of: Source) -> None:
    pairs = [(f"The {n}th problem of the benchmark?", str(n)) for n in range(260)]
    result = run([prompts_of("t", *FILLER, *pairs)], [prompts_of("held", *pairs)])
    contamination = result.report["contamination"]
    assert contamination["found"] == {"bench": {"same_text": 260}}
    assert (len(contamination["pairs"]), contamination["pairs_left_out"]) == (200, 60)
    assert len(result.quarantine) == 260


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(jsonl: Callable[..., Path], bench: PromptSource) -> None:
    """It grows by the fingerprints only: under 150 bytes a row, a fraction of the row itself."""
    peaks = {}
    for rows in (5_000, 10_000):
        lines = [{"problem": f"{n}: {'very ' * 8}long?", "answer": str(n)} for n in range(rows)]
        source = PromptSource(name="t", file=str(jsonl("t.jsonl", *lines)), answer_kind="exact")
        with tempfile.TemporaryDirectory() as folder:
            config = CurateConfig(
                train=[source], benchmarks={"b": [bench]}, dev_size=3, max_problem_chars=500
            )
            tracemalloc.start()
            report = curate(config, 0, Path(folder))
            peaks[rows] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert report["sizes"]["train"] == rows - 3
    assert (peaks[10_000] - peaks[5_000]) / 5_000 < 150, peaks
