"""What the page of a registered version says: its origin, who trained it again, why it is champion."""

from __future__ import annotations

from pipelines.tracking.mlflow_store import Run
from pipelines.tracking.run_layout import COMMIT_TAG, RECIPE_TAG

GATE = "**Promotion gate:**"
"""What the gate's last decision in a description begins with; it ends the description."""
LENGTH = 5000
"""MLflow accepts no longer description."""
ORIGIN_TAGS = ("mlflow.user", "mlflow.source.name", COMMIT_TAG)
"""Tags of a run that its version has too: who made it, from what."""


def origin(run: Run) -> dict[str, str]:
    """The tags of a version that say who made it, from what."""
    return {key: run.data.tags[key] for key in ORIGIN_TAGS if key in run.data.tags}


def first_description(arm: str, run: Run) -> str:
    """The description of a new version."""
    tags = run.data.tags
    made = f"Arm {arm} of recipe {tags[RECIPE_TAG]}, seed {run.data.params.get('seed', 'unknown')}"
    kinds = ("accuracy", "gain")
    measured = [
        f"{kind} on {key.removeprefix(f'{kind}.')} {tags[key]}"
        for kind in kinds
        for key in sorted(tags)
        if key.startswith(f"{kind}.")
    ]
    return f"{'; '.join([made, f'commit {tags[COMMIT_TAG]}', *measured])}."


def with_line(description: str, line: str) -> str:
    """The description with one more line before the decision of the gate."""
    before, gate, decision = description.partition(GATE)
    return f"{before.rstrip()}\n\n{line}\n\n{gate}{decision}".strip()[:LENGTH]


def with_decision(description: str, reason: str) -> str:
    """The description with the gate's last decision at its end."""
    before, _, _ = description.partition(GATE)
    decision = f"{GATE} {reason}"[:LENGTH]
    return f"{before.rstrip()[: LENGTH - len(decision) - 2]}\n\n{decision}".strip()
