"""The registry of benchmarks: published rows and copies in other formats become the right prompts."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from hpt_core.config import BENCHMARKS, EvaluateConfig, PromptSource
from hpt_core.data.reading.benchmarks import PUBLISHED
from hpt_core.data.reading.records import Reject, SourceRow
from hpt_core.data.reading.sources import read_rows
from hpt_core.verifier import check_kind, gold_problem
from hpt_core.verifier.grading import grade


class BenchmarkPrompt(NamedTuple):
    """The prompt of a row."""

    problem: str
    answer: str
    answer_kind: str
    license: str


# One row of each benchmark, with the columns and types of the pinned revision.
ROWS: dict[str, dict[str, Any]] = {
    "aime24": {
        "id": 0,
        "problem": "Find the number of minutes the walk takes.",
        "solution": "\\boxed{204}",
        "url": "https://artofproblemsolving.com/wiki/index.php/2024_AIME_I_Problems/Problem_1",
    },
    "aime25": {"problem": "Find the sum of all integer bases.", "answer": "70", "id": "0"},
    "amc23": {"id": 0, "answer": "27.0", "url": "https://artofproblemsolving.com", "question": "How far?"},
    "math500": {
        "problem": "Convert the point $(0,3)$ to polar coordinates.",
        "solution": "We have that $r = 3$. The answer is $\\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}.$",
        "answer": "\\left( 3, \\frac{\\pi}{2} \\right)",
        "subject": "Precalculus",
        "level": 2,
        "unique_id": "test/precalculus/807.json",
    },
    "minerva": {"question": "Find the diameter of the image.", "answer": "1.6"},
    "olympiadbench": {
        "id": 1606,
        "question": "Determine all values of $q$.",
        "solution": ["Call a number good if it is in the second line.", "The answer is -2, 0, 2."],
        "final_answer": ["$-2,0,2$"],
        "context": None,
        "image_1": None,
        "modality": "Text-only",
        "difficulty": "Competition",
        "is_multiple_answer": True,
        "unit": None,
        "answer_type": "Numerical",
        "error": None,
        "question_type": "Open-ended",
        "subfield": "Algebra",
        "subject": "Math",
        "language": "English",
    },
    "gpqa_diamond": {
        "Record ID": "rec06pnAkLOr2t2mp",
        "Question": "Which energy difference lets the two states be resolved?\n",
        "Correct Answer": "10^-4 eV",
        "Incorrect Answer 1": "10^-11 eV",
        "Incorrect Answer 2": "10^-8 eV\n",
        "Incorrect Answer 3": "10^-9 eV",
        "Explanation": "By the uncertainty principle.",
        "Subdomain": "Physics (general)",
    },
    "arc_challenge": {
        "id": "Mercury_7175875",
        "question": "A planet rotates faster after an impact. Which is the most likely effect?",
        "choices": {
            "text": [
                "Its density falls.",
                "Its years grow longer.",
                "Its days grow shorter.",
                "It gets heavier.",
            ],
            "label": ["A", "B", "C", "D"],
        },
        "answerKey": "C",
    },
    "gsm8k": {
        "question": "How much does she make every day?",
        "answer": "She sells 16 - 3 - 4 = <<16-3-4=9>>9 eggs.\nShe makes 9 * 2 = $<<9*2=18>>18.\n#### 18",
    },
}
ANSWERS = {
    "aime24": "204",
    "aime25": "70",
    "amc23": "27",
    "math500": "(3, \\pi/2)",
    "minerva": "1.6",
    "olympiadbench": "-2, 0, 2",
    "gsm8k": "18",
}
HUB = [name for name in BENCHMARKS if name in ROWS]
TASKS = [name for name in BENCHMARKS if name not in ROWS]


@pytest.fixture
def hub_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Replace the hub, which tests cannot reach, by ROWS; returns the arguments of each call."""
    calls: list[tuple[Any, Any]] = []

    def load(*args: Any, **kwargs: Any) -> datasets.Dataset:
        calls.append((args, kwargs))
        name = next(name for name in HUB if BENCHMARKS[name].origin["hub"] == args[0])
        return datasets.Dataset.from_list([ROWS[name]])

    monkeypatch.setattr(datasets, "load_dataset", load)
    return calls


def prompts(source: PromptSource) -> list[BenchmarkPrompt]:
    """The prompts of a source; each row can be read, and each answer can be graded against."""
    rows = list(read_rows(source))
    assert all(isinstance(row, SourceRow) for row in rows), rows
    assert source.answer_kind is not None
    result = [
        BenchmarkPrompt(**row.values, answer_kind=source.answer_kind, license=source.license) for row in rows
    ]
    if source.reasoning_gym is None:
        assert not [fault for prompt in result if (fault := gold_problem(prompt.answer, prompt.answer_kind))]
    return result


def copy_of(name: str, path: Path, rows: list[dict[str, Any]]) -> PromptSource:
    """Write `rows` to a local file, in the format of its suffix."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=2))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PromptSource(name="copy", benchmark=name, file=str(path))


def is_correct(prompt: BenchmarkPrompt, answer: str) -> bool:
    return grade(f"So it is \\boxed{{{answer}}}.", prompt.answer, prompt.answer_kind).correct


@pytest.mark.parametrize("name", HUB)
def test_a_name_is_enough(name: str, hub_calls: list[tuple[Any, Any]]) -> None:
    entry = BENCHMARKS[name]
    [prompt] = prompts(PromptSource(name="it", benchmark=name))
    assert hub_calls == [
        (
            (entry.origin["hub"], entry.origin["subset"]),
            {"split": entry.origin["split"], "revision": entry.origin["revision"]},
        )
    ]
    assert (prompt.answer_kind, prompt.license) == (entry.answer_kind, entry.license)
    if name in ANSWERS:
        assert is_correct(prompt, ANSWERS[name]) and not is_correct(prompt, "99")


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize("name", HUB)
def test_a_downloaded_copy_reads_as_the_hub_does(
    name: str, suffix: str, hub_calls: list[tuple[Any, Any]], tmp_path: Path
) -> None:
    [published] = prompts(PromptSource(name="copy", benchmark=name))
    assert prompts(copy_of(name, tmp_path / f"rows{suffix}", [ROWS[name]])) == [published]


@pytest.mark.parametrize("name", [name for name in HUB if BENCHMARKS[name].answer_kind == "math"])
def test_the_json_of_hpt_and_the_parquet_of_verl_read_alike(name: str, tmp_path: Path) -> None:
    plain = {"prompt": "What is 6 times 7?", "answer": "42"}
    messages = [{"role": "system", "content": "Think."}, {"role": "user", "content": plain["prompt"]}]
    verl = {
        "data_source": "aime",
        "prompt": messages,
        "reward_model": {"style": "rule", "ground_truth": "42"},
        "extra_info": {"index": 0},
    }
    [from_json] = prompts(copy_of(name, tmp_path / "test.json", [plain]))
    [from_parquet] = prompts(copy_of(name, tmp_path / "test.parquet", [verl]))
    assert from_json == from_parquet and (from_json.problem, from_json.answer) == ("What is 6 times 7?", "42")


def test_columns_of_the_source_take_precedence(tmp_path: Path) -> None:
    source = copy_of("aime25", tmp_path / "rows.jsonl", [{"q": "6 times 7?", "a": 42, "answer": "other"}])
    named = source.model_copy(update={"columns": {"problem": "q", "answer": "a"}})
    [prompt] = prompts(named)
    assert (prompt.problem, prompt.answer) == ("6 times 7?", "42")
    [reject] = read_rows(source)
    assert isinstance(reject, Reject) and reject.reason == "missing_column"
    assert "problem, answer or prompt.-1.content" in reject.detail and "`columns`" in reject.detail


def test_a_full_solution_beside_the_answer_is_not_the_answer(tmp_path: Path) -> None:
    row = {"id": 60, "problem": "Aya walks.", "solution": "First $s = 2.5$. \\boxed{204}", "answer": "204"}
    [prompt] = prompts(copy_of("aime24", tmp_path / "rows.jsonl", [row]))
    assert prompt.answer == "204"


def test_gpqa_as_csv_of_its_repository(tmp_path: Path) -> None:
    path = tmp_path / "gpqa_diamond.csv"
    row = ROWS["gpqa_diamond"]
    quoted = ['"' + str(value).replace('"', '""') + '"' for value in row.values()]
    path.write_text(",".join(row) + "\n" + ",".join(quoted) + "\n")
    [prompt] = prompts(PromptSource(name="copy", benchmark="gpqa_diamond", file=str(path)))
    assert options(prompt.problem) == {"10^-4 eV", "10^-11 eV", "10^-8 eV", "10^-9 eV"}


def options(problem: str) -> set[str]:
    return set(re.findall(r"^\([A-Z]\) (.*)$", problem, re.MULTILINE))


def test_gpqa_hides_the_right_option_among_the_others(tmp_path: Path) -> None:
    rows = [
        ROWS["gpqa_diamond"] | {"Question": f"Question {i}?", "Correct Answer": f"right {i}"}
        for i in range(400)
    ]
    read = prompts(copy_of("gpqa_diamond", tmp_path / "rows.parquet", rows))
    letters = Counter(prompt.answer for prompt in read)
    assert set(letters) == set("ABCD") and all(70 < count < 130 for count in letters.values())
    for i, prompt in enumerate(read):
        lines = prompt.problem.split("\n")
        assert f"({prompt.answer}) right {i}" in lines
        assert lines[0] == f"Question {i}?" and len(options(prompt.problem)) == 4
        assert is_correct(prompt, prompt.answer) and is_correct(prompt, f"({prompt.answer})")
        assert not is_correct(prompt, "ABCD"["ABCD".index(prompt.answer) - 1])
    assert prompts(copy_of("gpqa_diamond", tmp_path / "again.parquet", rows[::-1])) == read[::-1]


def test_a_gpqa_row_without_four_different_options_is_rejected(tmp_path: Path) -> None:
    same = ROWS["gpqa_diamond"] | {"Incorrect Answer 2": "10^-4 eV "}
    less = ROWS["gpqa_diamond"] | {"Incorrect Answer 3": None}
    for row, detail in zip(
        read_rows(copy_of("gpqa_diamond", tmp_path / "rows.jsonl", [same, less])),
        ("'10^-4 eV' is among the wrong ones", "'Incorrect Answer 3' is no text: None"),
        strict=True,
    ):
        assert isinstance(row, Reject) and row.reason == "not_as_published" and detail in row.detail


def test_arc_has_letters_with_any_labels(tmp_path: Path) -> None:
    numbered = {
        "question": "What is a mammal?",
        "choices": {"text": ["a shark", "a whale", "a frog"], "label": ["1", "2", "3"]},
        "answerKey": "2",
    }
    mismatched = {**numbered, "question": "And a fish?", "answerKey": "B"}
    row, reject = read_rows(copy_of("arc_challenge", tmp_path / "rows.jsonl", [numbered, mismatched]))
    assert isinstance(row, SourceRow) and row.values == {
        "problem": "What is a mammal?\n\n(A) a shark\n(B) a whale\n(C) a frog\n\n"
        "Answer with the letter of the right choice.",
        "answer": "B",
    }
    assert isinstance(reject, Reject) and "'B' is none of the labels ['1', '2', '3']" in reject.detail


def test_olympiadbench_asks_for_every_answer_and_gives_the_context(tmp_path: Path) -> None:
    row = ROWS["olympiadbench"] | {"context": "Let $n>1$.", "final_answer": ["$69$", "$84$"]}
    bad = ROWS["olympiadbench"] | {"final_answer": None}
    read, reject = read_rows(copy_of("olympiadbench", tmp_path / "rows.jsonl", [row, bad]))
    assert isinstance(read, SourceRow)
    assert read.values == {"problem": "Let $n>1$.\n\nDetermine all values of $q$.", "answer": "$69$, $84$"}
    assert grade("\\boxed{69, 84}", read.values["answer"], "math").correct
    assert not grade("\\boxed{69}", read.values["answer"], "math").correct
    assert isinstance(reject, Reject) and "final_answer is no list of texts: None" in reject.detail


@pytest.mark.parametrize("name", TASKS)
def test_a_reasoning_gym_set_gives_its_hundred_problems(name: str) -> None:
    read = prompts(PromptSource(name="it", benchmark=name))
    assert len({p.problem for p in read}) == 100 and {p.answer_kind for p in read} == {
        f"reasoning_gym:{name[3:]}"
    }


def test_keys_of_the_source_take_precedence_over_the_registry(tmp_path: Path) -> None:
    source = PromptSource(name="it", benchmark="aime24", revision=None, license="ours")
    assert (source.hub, source.split, source.revision, source.license) == (
        "math-ai/aime24",
        "test",
        None,
        "ours",
    )
    mirror = PromptSource(name="it", benchmark="aime24", hub="team/mirror")
    assert (mirror.hub, mirror.split, mirror.revision) == ("team/mirror", "train", None)
    local = PromptSource(name="it", benchmark="rg_gcd", file="rows.jsonl", hub=None)
    assert (local.reasoning_gym, local.size, local.answer_kind) == (None, None, "reasoning_gym:gcd")


def test_an_unknown_benchmark_lists_the_known_ones() -> None:
    with pytest.raises(ValidationError, match=r"benchmark\n.*there are aime24, aime25, amc23, math500"):
        PromptSource(name="it", benchmark="aime23", file="rows.jsonl", answer_kind="math")


def test_the_settings_are_those_of_the_paper() -> None:
    assert {name: entry.samples for name, entry in BENCHMARKS.items() if entry.samples > 1} == {
        "aime24": 32,
        "aime25": 32,
        "amc23": 32,
    }
    defaults = EvaluateConfig(samples=1)
    for name, entry in BENCHMARKS.items():
        check_kind(entry.answer_kind)
        assert entry.name == name
        assert (entry.temperature, entry.top_p) == (defaults.temperature, defaults.top_p) == (0.6, 0.95)
        assert (name in PUBLISHED) == ("hub" in entry.origin) == (name in ROWS)
        if "hub" in entry.origin:
            assert re.fullmatch("[0-9a-f]{40}", entry.origin["revision"])
