"""Verdicts on cases collected from public bug reports, where the file is at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hpt_core.verifier import VerifierPool

CASES = Path(
    os.environ.get("HPT_VERIFIER_CASES", Path(__file__).parents[4] / "shared/data/verifier/cases.jsonl")
)


@pytest.mark.skipif(not CASES.is_file(), reason="no cases.jsonl found; set HPT_VERIFIER_CASES to it")
def test_every_case_gets_the_verdict_that_it_deserves() -> None:
    cases = [json.loads(line) for line in CASES.open(encoding="utf-8")]
    with VerifierPool(2, 5.0) as pool:
        verdicts = pool.verify([(case["response"], case["gold"], case["kind"]) for case in cases])
    wrong = [
        (case["gold"], case["response"], verdict)
        for case, verdict in zip(cases, verdicts, strict=True)
        if verdict.correct != case["expected"]
    ]
    assert len(cases) > 1000 and not wrong
