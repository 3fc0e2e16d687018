"""docs/models.md: one row for each family, as the survey found it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .survey import CHECKS, Outcome
from .zoo import NOT_BUILT, families

DOCUMENT = Path(__file__).parents[2] / "docs/models.md"
COMMAND = "python -m tests.families"
HEADING = f"""# Models

Every family that `AutoModelForCausalLM` of transformers 5.19 knows, as a random model of two to four layers.
The tests made this table:

    .venv/bin/{COMMAND} > docs/models.md    # five minutes
    make test-all                                          # fails where this table is not true

What is right is the model in memory from which the folder was saved: eager attention, no cache, one row at a
time, in float32. The columns:

| check | passes if |
|---|---|
| load | the folder gives the same parameters and the same logits |
| template | the chat template gives the same tokens |
| greedy | `rollout.engine: hf` decodes, in one batch, the tokens that `generate` gives each prompt alone |
| sample | its log-probabilities are those of a plain forward pass, to 1e-4 nats |
| train | so are the trainer's, on a batch with padding, and its gradient |
| step | a step of HPT changes the weights, and all stay finite |
| save | the trained policy is loaded again with the same hash and logits |
| LoRA | adapters on every linear layer, pushed into the engine or merged and saved, give the same logits |

✓ passes. ✗ is refused with an error that says why; the last column has the reason. A dash: refused before it,
in `base`. What cannot be sampled with `rollout.engine: hf` may be with vllm, if vLLM has the family.
FAILED is wrong, and must not be: the tests fail for it.

"""
UNTRIED = "-"


def row(model_type: str, outcomes: Mapping[str, Outcome]) -> str:
    """The table's row of one family."""
    marks = [outcomes[check].mark if check in outcomes else UNTRIED for check in CHECKS]
    reasons: dict[str, list[str]] = {}
    for check, outcome in outcomes.items():
        if outcome.reason:
            reasons.setdefault(outcome.reason, []).append(check)
    text = "; ".join(f"{', '.join(checks)}: {reason}" for reason, checks in reasons.items())
    return f"| {' | '.join([model_type, families()[model_type], *marks])} | {text.replace('|', '/')} |"


def document(rows: list[str]) -> str:
    """The page; families that pass every check come first."""
    head = ["model_type", "class", *CHECKS, "reason"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += sorted(rows, key=_rank)
    passed = sum(_rank(line)[:3] == (0, 0, 0) for line in rows)
    left_out = ["", "Not built small, or no text model of their own:", ""]
    left_out += [f"- `{name}`: {reason}" for name, reason in sorted(NOT_BUILT.items())]
    return (
        HEADING
        + "\n".join([f"{passed} of {len(rows)} families pass every check.", "", *lines, *left_out])
        + "\n"
    )


def _rank(line: str) -> tuple[int, int, int, str]:
    return line.count("FAILED"), line.count(f"| {UNTRIED} "), line.count("✗"), line


def documented() -> dict[str, str]:
    """model_type -> its row in docs/models.md."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    return {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}
