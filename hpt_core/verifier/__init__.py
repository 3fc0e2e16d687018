"""The verifier: judges responses against reference answers, without torch or transformers."""

from __future__ import annotations

from hpt_core.verifier.grading import check_kind, gold_problem, grade, installed_versions
from hpt_core.verifier.lines import verify_lines
from hpt_core.verifier.pool import VerifierPool

__all__ = ["VerifierPool", "check_kind", "gold_problem", "grade", "installed_versions", "verify_lines"]
