"""Repeats: which prompt is dropped for which other, and which pairs are no repeats."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from curated_files import Curated, curated

from hpt_core.config import PromptSource

Source = Callable[..., PromptSource]
LONG = (
    "A baker in Lyon sells {n} loaves of rye bread every morning and twice as many rolls in the afternoon, "
    "but on Sundays the shop stays closed. How many loaves and rolls does the baker sell in one week?"
)
FILLER = [(f"What is {n} plus 1?", str(n + 1)) for n in range(5)]


def run(source: PromptSource, bench: PromptSource, **more: object) -> Curated:
    return curated([source], {"bench": [bench]}, dev_size=1, **more)


@pytest.fixture
def bench(prompts_of: Source) -> PromptSource:
    return prompts_of("bench", ("Capital of France?", "Paris"))


def test_a_reworded_repeat_is_dropped_for_the_first_and_names_it(
    prompts_of: Source, bench: PromptSource
) -> None:
    text = LONG.format(n=20)
    rows = [
        *FILLER,
        (text, "360"),
        (text.replace("every morning", "each morning"), "360"),
        (text.upper() + "!", "360.0"),
    ]
    source = prompts_of("t", *rows)
    result = run(source, bench)
    assert result.dropped("t") == {"near_duplicate": 2}
    first, second = result.quarantine
    assert (first["line"], second["line"]) == (7, 8)
    assert f"{source.file}:6, which is kept" in first["detail"] and f"{source.file}:6," in second["detail"]
    assert "100% alike" in second["detail"] and "100% alike" not in first["detail"]
    assert text in {p.problem for p in result.kept}


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (("sells 20", "sells 21"), "360"),
        (("every morning", "each morning"), "361"),
        (("twice as many", "thrice as many"), "360"),
    ],
)
def test_other_figures_or_another_answer_make_another_problem(
    prompts_of: Source, bench: PromptSource, change: tuple[str, str], answer: str
) -> None:
    text = LONG.format(n=20)
    source = prompts_of("t", *FILLER, (text, "360"), (text.replace(*change), answer))
    assert run(source, bench).dropped("t") == {}


def test_the_threshold_decides_by_exact_similarity(prompts_of: Source, bench: PromptSource) -> None:
    text = LONG.format(n=20)
    changed = text.replace("Lyon", "Nantes").replace("Sundays", "Mondays").replace("baker sell", "shop sell")
    source = prompts_of("t", *FILLER, (text, "360"), (changed, "360"))
    assert run(source, bench, near_duplicates=0.8).dropped("t") == {}
    assert run(source, bench, near_duplicates=0.5).dropped("t") == {"near_duplicate": 1}
    assert run(source, bench, near_duplicates=None).dropped("t") == {}


def test_each_dropped_prompt_of_a_chain_names_one_that_is_kept(
    prompts_of: Source, bench: PromptSource
) -> None:
    """b is near a, c is near b only, and b is dropped for a: c is dropped only if it is near a."""
    words = LONG.format(n=20).split()

    def changed(*indices: int) -> str:
        return " ".join("other" if i in indices else word for i, word in enumerate(words))

    rows = [
        (changed(), "360"),
        (changed(3), "360"),
        (changed(3, 30), "360"),
        (changed(12, 20, 24, 3, 30), "360"),
    ]
    source = prompts_of("t", *FILLER, *rows)
    result = run(source, bench, near_duplicates=0.7)
    kept = {p.problem for p in result.kept}
    for row in result.quarantine:
        assert "which is kept" in row["detail"]
    assert rows[0][0] in kept and rows[3][0] in kept and result.dropped("t") == {"near_duplicate": 2}


def test_twenty_thousand_problems_of_one_phrasing_are_all_kept(
    prompts_of: Source, bench: PromptSource
) -> None:
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = sorted({"".join(draw.choices(letters, k=7)) for _ in range(20_000)})
    rows = [(f"Spell this word backward (example: sun -> nus): {word}", word[::-1]) for word in words]
    sums = [
        (f"State the final answer to this problem: {a} + {b} =", str(a + b))
        for a in range(40)
        for b in range(40)
    ]
    result = run(prompts_of("t", *rows, *sums), bench)
    assert result.dropped("t") == {}


def test_a_conflict_names_both_answers_and_their_places(prompts_of: Source, bench: PromptSource) -> None:
    source = prompts_of("t", *FILLER, ("Odd?", "1"), ("Odd?", "1.0"), ("Odd?", "2"), ("Odd?", "2"))
    result = run(source, bench)
    assert result.dropped("t") == {"conflicting_answers": 4}
    for row in result.quarantine:
        assert "1" in row["detail"] and "'2'" in row["detail"], row
        assert row["detail"].count(str(source.file)) == 2
