"""The rows of QUARANTINE and GATE as typed dictionaries, and what those of GATE say of a source."""

from __future__ import annotations

from typing import TypedDict

ROW_TEXT = 2000
"""Number of characters of a rejected row that QUARANTINE keeps."""


class GateRow(TypedDict):
    """A row of GATE: what was decided about a prompt at a step."""

    step: int
    prompt_id: str
    pass_rate: float | None
    """P; None without rollouts."""
    route: str
    trajectory_id: str | None
    """The demonstration that the arm has for the prompt, trained on or not."""
    kind: str | None
    source: str | None
    trained: bool
    """The demonstration had a gradient in an update that the optimizer took."""


class SourceStatistics(TypedDict):
    """What the rows of GATE of a whole run say of the prompts whose expert comes from one source."""

    kind: str | None
    prompts: int
    """Number of these prompts."""
    decisions: int
    """Number of rows of GATE about them."""
    sft: int
    """How often a demonstration of the source was trained on."""
    sft_share: float | None
    """`sft` as a share of the sum over all sources; None where no demonstration was trained on."""
    sft_first: float
    """Share of the prompts whose first decision took the demonstration."""
    sft_last: float
    """The same of the last decision."""
    solved_first: float | None
    """Mean pass rate at the first decision; None without rollouts."""
    solved_last: float | None
    nll_before: float | None
    """NLL in nats per token before the first step, of a few demonstrations."""
    nll_after: float | None
    """NLL of the same demonstrations after the last step."""


class QuarantineRow(TypedDict):
    """A row of QUARANTINE: what a stage left out, and why."""

    stage: str
    source: str
    file: str
    line: int
    """Counts from 1; 0 where the row has no line."""
    reason: str
    detail: str
    row: str
    """The first ROW_TEXT characters."""


def quarantined(
    stage: str, source: str, reason: str, detail: str, *, file: str = "", line: int = 0, row: str = ""
) -> QuarantineRow:
    """A row of QUARANTINE."""
    return {
        "stage": stage,
        "source": source,
        "file": file,
        "line": line,
        "reason": reason,
        "detail": detail,
        "row": row[:ROW_TEXT],
    }
