"""One stage of dvc.yaml run through DVC: its output without DVC's advice, its failure as a message."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from pipelines.orchestration.process_group import CommandError, ProcessGroups

ADVICE = (
    "Running stage",
    "Generating lock file",
    "Updating lock file",
    "To track the changes",
    "git add dvc.lock",
    "To enable auto staging",
    "dvc config core",
    "Use `dvc push",
)
"""What DVC prints around every stage: the flow reports the same, or it is advice for interactive use."""


def reproduce(
    stage: str, root: Path, groups: ProcessGroups, log: Callable[[str], None], env: Mapping[str, str]
) -> None:
    """Run `stage`, each line of its own output to `log`. Raises CommandError."""

    def log_output(line: str) -> None:
        if not line.strip().startswith(ADVICE):
            log(line)

    # The flag stands before the subcommand; without it parallel calls fail on DVC's lock.
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage]
    groups.run(command, root, log_output, env)


def failure_message(stage: str, error: CommandError) -> str:
    """What failed, the last lines of its output, and the command that repeats it."""
    tail = "\n".join(f"  {line}" for line in error.tail)
    return (
        f"stage {stage} failed with {error}; the last lines of its output:\n{tail}\n"
        f"Run it again with: dvc repro --single-item {stage}"
    )
