"""`hpt inspect` reads rows of well-known data sets as a person does, with names of columns and without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from hpt_core.data.inspection.entries import entries_for
from hpt_core.data.inspection.recognise import recognise
from hpt_core.data.inspection.rows import fields_of
from hpt_core.data.inspection.sample import read_sample
from hpt_core.data.inspection.trial import Trial, try_entries
from hpt_core.verifier import VerifierPool
from tests.unit.data.inspection.items import Item
from tests.unit.data.inspection.shapes import PROMPTS, Shape
from tests.unit.data.inspection.shapes_of_choices import CHOICES
from tests.unit.data.inspection.shapes_of_demonstrations import DEMONSTRATIONS

ALL = PROMPTS | DEMONSTRATIONS | CHOICES
READ_BY_NAME = {
    "tatsu-lab/alpaca": "an input without a name is not told from an answer",
    "zwhe99/DeepMath-103K": "three columns of traces without a common name are three sources",
}
"""Sets whose contents alone do not say what they are, and why."""


def inspected(path: Path, verifier: VerifierPool) -> list[Trial]:
    sample = read_sample(str(path), 100)
    found = recognise(fields_of(sample.rows), sample.rows)
    return list(try_entries(entries_for(found, sample.origin), sample.records, verifier))


def read_of(trials: Sequence[Trial], section: str) -> list[Trial]:
    return [trial for trial in trials if trial.entry.section == section]


def check_prompts(shape: Shape, trials: Sequence[Trial], same_kind: bool = True) -> None:
    prompts = read_of(trials, "curate.train")
    if shape.answer is None:
        # Without its name, a boxed response may be a person's solution and so a reference.
        assert prompts == [] or not same_kind
        return
    (trial,) = prompts
    expected = [(shape.problem(item), str(shape.answer(item))) for item in shape.items]
    read = [(row.values["problem"], row.values["answer"]) for row in trial.rows]
    assert trial.entry.keys["answer_kind"] == shape.kind or not same_kind
    assert [pair for pair in read if pair not in expected] == []
    # References in prose are quarantined, as far as the verifier cannot compare them.
    prose = [(shape.problem(item), item.prose) for item in shape.items]
    assert [pair for pair in expected if pair not in read + prose] == []
    assert trial.judged == len(read)
    assert trial.judged - trial.accepted <= sum(pair in read for pair in prose)


def check_experts(shape: Shape, trials: Sequence[Trial], same_kind: bool = True) -> None:
    experts = read_of(trials, "experts.sources")
    assert len(experts) == len(shape.experts)
    for trial, expert in zip(experts, shape.experts, strict=True):
        assert trial.entry.keys["kind"] == expert.kind or not same_kind
        read = [(row.values["problem"], row.values["response"]) for row in trial.rows]
        expected = [(shape.problem(i), text) for i in shape.items for text in flat(expert.response, i)]
        assert [pair for pair in read if pair[1]] == expected
        for mark in ("score", "keep"):
            of = getattr(expert, mark)
            if of is not None and same_kind:
                wanted = [value for i in shape.items for value in flat(of, i)]
                assert [row.values.get(mark) for row in trial.rows] == wanted


def flat(of: Callable[[Item], Any], item: Item) -> list[Any]:
    value = of(item)
    return value if isinstance(value, list) else [] if value is None else [value]


@pytest.mark.parametrize("name", ALL)
def test_a_published_set_is_read_as_a_person_reads_it(
    name: str, data_file: Callable[..., Path], verifier: VerifierPool
) -> None:
    shape = ALL[name]
    trials = inspected(data_file([shape.row(item) for item in shape.items], shape.suffix), verifier)
    check_prompts(shape, trials)
    check_experts(shape, trials)


@pytest.mark.parametrize("name", [name for name in ALL if name not in READ_BY_NAME])
def test_the_same_rows_under_other_names_are_read_too(
    name: str, data_file: Callable[..., Path], verifier: VerifierPool
) -> None:
    shape, names = ALL[name], dict[str, str]()

    def renamed(row: Any) -> Any:
        if not isinstance(row, dict):
            return row
        return {
            names.setdefault(key, f"column_{chr(ord('a') + len(names))}"): value for key, value in row.items()
        }

    rows = [renamed(shape.row(item)) for item in shape.items]
    trials = inspected(data_file(rows, shape.suffix), verifier)
    check_prompts(shape, trials, same_kind=False)
    check_experts(shape, trials, same_kind=False)
