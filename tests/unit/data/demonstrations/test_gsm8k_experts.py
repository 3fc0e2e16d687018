"""People and a teacher on the same GSM8K problems: what the files claim, and what the verifier says."""

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
    held = PromptSource(
        name="held",
        file=str(FOLDER / "train.jsonl"),
        answer_kind="gsm8k",
        license="mit",
        columns=QUESTION,
        limit=500,
    )
    # Experts are the matter here; one test problem is one of the training split with other numbers.
    return curate([train], {"gsm8k": [held]}, dev_size=64, decontamination={"overlap": 1.0})


def take(curated: Curated, **fields: object) -> Ingested:
    source = ExpertSource.model_validate(
        {"name": "x", "license": "mit", "file": str(SOLUTIONS), "rewrite": ["gsm8k"]} | fields
    )
    prompts = curated.train + curated.dev
    with VerifierPool(workers=1, timeout_s=10.0) as verifier:
        return ingest(source, prompts, verifier, Eligibility(lambda text: len(text.split()), ["mit"], 2000))


def test_answers_are_the_numbers_that_the_solutions_end_in(curated: Curated) -> None:
    assert curated.report["sources"]["train"]["gsm8k"] == {"in": 1319, "kept": 1319, "dropped": {}}
    rows = [json.loads(line) for line in SOLUTIONS.open(encoding="utf-8")]
    told = {
        row["question"].strip(): row["ground_truth"].rpartition("A: ")[2].replace(",", "") for row in rows
    }
    assert {p.problem: p.answer for p in curated.train + curated.dev} == told
    assert len(curated.benchmarks["gsm8k"]) == 500


def test_people(curated: Curated) -> None:
    result = take(curated, kind="human", columns=QUESTION | {"response": "ground_truth"})
    # The reference is the human solution's own last line: whatever is dropped here is a fault of ours.
    assert result.report["kept"] == 1319, [(r.line, r.reason, r.detail) for r in result.rejects]
    assert not any("<<" in t.response for t in result.trajectories)
    assert all(t.response.endswith("}.") for t in result.trajectories)


def test_the_verifier_agrees_with_every_mark_of_the_teachers_file(curated: Curated) -> None:
    columns = QUESTION | {"response": "175b_verification.solution"}
    claims = [
        json.loads(line)["175b_verification"]["is_correct"] for line in SOLUTIONS.open(encoding="utf-8")
    ]
    marked = take(curated, kind="teacher", columns=columns | {"keep": "175b_verification.is_correct"})
    assert marked.report["dropped"] == {"marked_wrong_by_source": claims.count(False)}
    # Without the marks, the verifier alone finds the same wrong ones.
    unmarked = take(curated, kind="teacher", columns=columns)
    wrong = [reject.line for reject in unmarked.rejects if reject.reason == "rejected_by_verifier"]
    assert wrong == [line for line, right in enumerate(claims, 1) if not right]
    assert unmarked.trajectories == marked.trajectories


def test_wrong_solutions_that_a_file_marks_right_are_caught_and_counted(
    curated: Curated, tmp_path: Path
) -> None:
    """Its own marks are all true, so lies are put in: each fifth wrong one called right, each ninth right
    one called wrong, and, of the rest, each seventh right one given another last line."""
    rows = [json.loads(line) for line in SOLUTIONS.open(encoding="utf-8")]
    lies: dict[str, list[int]] = {"right": [], "wrong": [], "spoilt": []}
    for line, row in enumerate(rows, 1):
        model = row["175b_verification"]
        if model["is_correct"] and line % 9 == 0:
            model["is_correct"] = False
            lies["wrong"].append(line)
        elif model["is_correct"] and line % 7 == 0:
            body, _, answer = model["solution"].rpartition("A: ")
            model["solution"] = f"{body}A: {int(answer.replace(',', '')) + 1}"
            lies["spoilt"].append(line)
        elif not model["is_correct"] and line % 5 == 0:
            model["is_correct"] = True
            lies["right"].append(line)
    assert min(map(len, lies.values())) > 50
    path = tmp_path / "lying.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = QUESTION | {"response": "175b_verification.solution", "score": "175b_verification.is_correct"}
    result = take(curated, kind="teacher", file=str(path), columns=columns)
    caught = [r.line for r in result.rejects if r.detail.endswith("; marked right")]
    assert caught == sorted(lies["right"] + lies["spoilt"])
    assert result.report["contradicts"] == {
        "marked_right_but_wrong": len(caught),
        "marked_wrong_but_right": len(lies["wrong"]),
    }
    assert result.report["in"] == 1319 == result.report["kept"] + sum(result.report["dropped"].values())
    assert result.report["kept"] == 742 - len(lies["spoilt"]), "called wrong and right all the same: kept"
