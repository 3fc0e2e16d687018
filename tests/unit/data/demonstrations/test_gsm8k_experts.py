"""Solutions of people and of a teacher to the same GSM8K problems: the files' marks against the verifier."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from curated_files import Curated
from curated_files import curated as curate

from hpt_core.config import ExpertSource, PromptSource
from hpt_core.data.demonstrations.eligibility import Eligibility
from hpt_core.data.demonstrations.ingest import ingest
from hpt_core.data.demonstrations.report import Ingested
from hpt_core.verifier import VerifierPool

FOLDER = Path(os.environ.get("HPT_GSM8K", Path(__file__).resolve().parents[5] / "shared" / "data" / "gsm8k"))
SOLUTIONS = FOLDER / "model_solutions.jsonl"

pytestmark = pytest.mark.skipif(
    not SOLUTIONS.is_file(),
    reason=f"no GSM8K at {FOLDER}: set HPT_GSM8K to a folder with model_solutions.jsonl",
)
QUESTION = {"problem": "question"}


@pytest.fixture(scope="module")
def curated() -> Curated:
    train = PromptSource(
        name="gsm8k",
        file=str(SOLUTIONS),
        answer_kind="gsm8k",
        license="mit",
        columns=QUESTION | {"answer": "ground_truth"},
    )
    benchmark = PromptSource(
        name="held",
        file=str(FOLDER / "train.jsonl"),
        answer_kind="gsm8k",
        license="mit",
        columns=QUESTION,
        limit=500,
    )
    # Not under test here: one test problem is one of the training split with other numbers.
    return curate([train], {"gsm8k": [benchmark]}, dev_size=64, decontamination={"overlap": 1.0})


def ingest_solutions(curated: Curated, **fields: object) -> Ingested:
    source = ExpertSource.model_validate(
        {"name": "x", "license": "mit", "file": str(SOLUTIONS), "rewrite": ["gsm8k"]} | fields
    )
    prompts = curated.train + curated.dev
    with VerifierPool(workers=1, timeout_s=10.0) as verifier:
        return ingest(source, prompts, verifier, Eligibility(lambda text: len(text.split()), ["mit"], 2000))


def test_answers_are_the_numbers_that_the_solutions_end_in(curated: Curated) -> None:
    assert curated.report["sources"]["train"]["gsm8k"] == {"in": 1319, "kept": 1319, "dropped": {}}
    rows = [json.loads(line) for line in SOLUTIONS.open(encoding="utf-8")]
    answers = {
        row["question"].strip(): row["ground_truth"].rpartition("A: ")[2].replace(",", "") for row in rows
    }
    assert {p.problem: p.answer for p in curated.train + curated.dev} == answers
    assert len(curated.benchmarks["gsm8k"]) == 500


def test_every_human_solution_is_kept(curated: Curated) -> None:
    result = ingest_solutions(curated, kind="human", columns=QUESTION | {"response": "ground_truth"})
    # The reference is the last line of the human solution, so a dropped solution is a fault of this code.
    assert result.report["kept"] == 1319, [(r.line, r.reason, r.detail) for r in result.rejects]
    assert not any("<<" in t.response for t in result.trajectories)
    assert all(t.response.endswith("}.") for t in result.trajectories)


def test_the_verifier_agrees_with_every_mark_of_the_teachers_file(curated: Curated) -> None:
    columns = QUESTION | {"response": "175b_verification.solution"}
    marks = [json.loads(line)["175b_verification"]["is_correct"] for line in SOLUTIONS.open(encoding="utf-8")]
    marked = ingest_solutions(
        curated, kind="teacher", columns=columns | {"keep": "175b_verification.is_correct"}
    )
    assert marked.report["dropped"] == {"marked_wrong_by_source": marks.count(False)}
    # Without the marks, the verifier finds the same wrong solutions.
    unmarked = ingest_solutions(curated, kind="teacher", columns=columns)
    wrong = [reject.line for reject in unmarked.rejects if reject.reason == "rejected_by_verifier"]
    assert wrong == [line for line, right in enumerate(marks, 1) if not right]
    assert unmarked.trajectories == marked.trajectories


def test_wrong_solutions_that_a_file_marks_right_are_caught_and_counted(
    curated: Curated, tmp_path: Path
) -> None:
    """All marks of the file are true, so the test falsifies some: every fifth wrong solution is marked right,
    every ninth right one is marked wrong, and every seventh of the other right ones gets another answer."""
    rows = [json.loads(line) for line in SOLUTIONS.open(encoding="utf-8")]
    changed: dict[str, list[int]] = {"marked right": [], "marked wrong": [], "other answer": []}
    for line, row in enumerate(rows, 1):
        model = row["175b_verification"]
        if model["is_correct"] and line % 9 == 0:
            model["is_correct"] = False
            changed["marked wrong"].append(line)
        elif model["is_correct"] and line % 7 == 0:
            body, _, answer = model["solution"].rpartition("A: ")
            model["solution"] = f"{body}A: {int(answer.replace(',', '')) + 1}"
            changed["other answer"].append(line)
        elif not model["is_correct"] and line % 5 == 0:
            model["is_correct"] = True
            changed["marked right"].append(line)
    assert min(map(len, changed.values())) > 50
    path = tmp_path / "falsified.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = QUESTION | {"response": "175b_verification.solution", "score": "175b_verification.is_correct"}
    result = ingest_solutions(curated, kind="teacher", file=str(path), columns=columns)
    rejected = [r.line for r in result.rejects if r.detail.endswith("; marked right")]
    assert rejected == sorted(changed["marked right"] + changed["other answer"])
    assert result.report["contradicts"] == {
        "marked_right_but_wrong": len(rejected),
        "marked_wrong_but_right": len(changed["marked wrong"]),
    }
    assert result.report["in"] == 1319 == result.report["kept"] + sum(result.report["dropped"].values())
    assert result.report["kept"] == 742 - len(changed["other answer"]), (
        "right solutions marked wrong are kept"
    )
