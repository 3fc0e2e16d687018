"""Solutions that code writes: each line is true, and the real verifier accepts every solution."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hpt_core.config import PromptSource
from hpt_core.data.demonstrations.program_solutions import program_solution
from hpt_core.data.problems import prompt_id
from hpt_core.data.reading.records import SourceRow
from hpt_core.data.reading.sources import read_rows
from hpt_core.types import Prompt
from hpt_core.verifier import VerifierPool


def make_prompt(problem: str, task: str, answer: str = "") -> Prompt:
    return Prompt(prompt_id(problem), problem, answer, f"reasoning_gym:{task}", "s", "mit")


def task(name: str, size: int, **options: Any) -> list[Prompt]:
    source = PromptSource(name="s", reasoning_gym=name, size=size, seed=11, options=options)
    rows = [row for row in read_rows(source) if isinstance(row, SourceRow)]
    assert len(rows) == size
    return [make_prompt(row.values["problem"], name, row.values["answer"]) for row in rows]


def test_one_line_for_each_operation() -> None:
    prompt = make_prompt(
        "State the final answer to the following arithmetic problem: 23 + 5 - 7 =", "chain_sum"
    )
    assert program_solution(prompt) == "23 + 5 = 28\n28 - 7 = 21\n\\boxed{21}"
    negative = make_prompt(
        "State the final answer to the following arithmetic problem: -3 - -5 + -9 =", "chain_sum"
    )
    assert program_solution(negative) == "-3 - -5 = 2\n2 + -9 = -7\n\\boxed{-7}"


def test_letters_apart_then_reversed() -> None:
    prompt = make_prompt("Spell this word backward (example: sun -> nus): stop", "spell_backward")
    assert program_solution(prompt) == "s t o p\np o t s\n\\boxed{pots}"


def test_other_wordings_and_slips() -> None:
    stop = make_prompt("Spell this word backward (example: sun -> nus): stop", "spell_backward")
    assert program_solution(stop, "marked") == "s-t-o-p\np-o-t-s\n\\boxed{pots}"
    assert program_solution(stop, "labelled") == "in: s-t-o-p\nout: p-o-t-s\n\\boxed{pots}"
    assert program_solution(stop, slip=4) == "s t o p\np t o s\n\\boxed{ptos}"
    assert (
        program_solution(make_prompt(stop.problem.replace("stop", "aaa"), "spell_backward"), slip=4) is None
    )
    total = make_prompt(
        "State the final answer to the following arithmetic problem: 23 + 5 - 7 =", "chain_sum"
    )
    assert program_solution(total, "labelled") == "step: 23 + 5 : 28\nstep: 28 - 7 : 21\n\\boxed{21}"
    assert program_solution(total, slip=2) == "23 + 5 = 29\n29 - 7 = 22\n\\boxed{22}"


@pytest.mark.parametrize(
    ("problem", "name"),
    [("1 + 1 =", "gcd"), ("How much is one and one?", "chain_sum"), ("stop", "spell_backward")],
)
def test_a_problem_that_no_writer_can_read_has_no_solution(problem: str, name: str) -> None:
    assert program_solution(make_prompt(problem, name)) is None


TASKS = [
    ("chain_sum", {"min_terms": 1, "max_terms": 6, "max_digits": 4}),
    ("chain_sum", {"allow_negation": True}),
    ("spell_backward", {"max_word_len": 10}),
]


@pytest.mark.parametrize(("name", "options"), TASKS)
def test_the_verifier_accepts_hundreds_and_each_step_is_true(name: str, options: dict[str, Any]) -> None:
    prompts = task(name, 300, **options)
    solutions = [program_solution(prompt) for prompt in prompts]
    items = [(s, p.answer, p.answer_kind) for s, p in zip(solutions, prompts, strict=True) if s is not None]
    assert len(items) == 300
    with VerifierPool(workers=1, timeout_s=10.0) as verifier:
        verdicts = verifier.verify(items)
        # As a control, the same solutions against the answers of other problems.
        shifted = [(s, items[i - 1][1], kind) for i, (s, _, kind) in enumerate(items)]
        wrong = verifier.verify(shifted)
        labelled = [(program_solution(p, "labelled"), p.answer, p.answer_kind) for p in prompts[:50]]
        slips = [(program_solution(p, slip=i), p.answer, p.answer_kind) for i, p in enumerate(prompts[:50])]
        reworded = verifier.verify([(s, *gold) for s, *gold in labelled if s])  # type: ignore[misc]
        mistaken = verifier.verify([(s, *gold) for s, *gold in slips if s])  # type: ignore[misc]
    assert [v for v in [*verdicts, *reworded] if not v.correct] == []
    assert len(reworded) == 50 and len(mistaken) > 30 and not any(v.correct for v in mistaken)
    assert sum(v.correct for v in wrong) < 30
    if name == "chain_sum":
        for solution, _, _ in items:
            for line in solution.splitlines()[:-1]:
                operation, _, value = line.partition(" = ")
                assert re.fullmatch(r"-?\d+ [+-] -?\d+", operation) and eval(operation) == int(value)
