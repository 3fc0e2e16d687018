"""One stage of dvc.yaml run through DVC: its output without DVC's advice, what was done, its failure as a
message."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from hpt_core.errors import STORAGE_FAULTS
from pipelines.orchestration import dvc_locks
from pipelines.orchestration.damaged_objects import remove_damaged
from pipelines.orchestration.process_group import CommandError, ProcessGroups

Done = Literal["done", "unchanged", "restored"]
"""A stage ran; was up to date; or its outputs came from DVC's cache, since it had run with these inputs
before."""

ADVICE = (
    "Running stage",
    "Generating lock file",
    "Updating lock file",
    "To track the changes",
    "git add dvc.lock",
    "To enable auto staging",
    "dvc config core",
    "Use `dvc push",
    "Data and pipelines are up to date",
)
"""What DVC prints around every stage: the flow reports the same, or it is advice for interactive use."""

DONE: dict[str, Done] = {
    "didn't change, skipping": "unchanged",
    "is cached - skipping run": "restored",
}
"""What DVC prints of a stage that it did not run -> what was done instead."""
SKIPPED = {
    "unchanged": "nothing that it reads has changed",
    "restored": "restored from DVC's cache",
}
"""The same in the words of the log."""
EXITED = re.compile(r"ERROR: failed to reproduce .* exited with (-?\d+)$")
NOT_KEPT = re.compile(
    r"ERROR: failed to (?P<what>transfer|reproduce) '[^']*'(?: -|:) "
    r"(?:\[Errno (?P<errno>\d+)\] )?(?P<reason>[^:]*)"
)
"""What DVC prints where its cache takes no files. It may call the stage reproduced all the same, and finds it
out of date the next time."""
LOCKED = re.compile(r"Unable to acquire lock|is busy, it is being blocked by|RWLock-file")


def reproduce(
    stage: str, root: Path, groups: ProcessGroups, log: Callable[[str], None], env: Mapping[str, str]
) -> Done:
    """Run `stage`, each line of its own output to `log`. Raises CommandError with its command's status.

    A stage whose outputs DVC took from damaged objects of its cache is repeated without them.
    """
    done = _reproduce(stage, root, groups, log, env)
    if done != "unchanged" and (count := remove_damaged(root, stage)):
        log(f"{count} file{'s' * (count > 1)} of DVC's cache was damaged and is removed; {stage} is repeated")
        done = _reproduce(stage, root, groups, log, env)
    return done


def _reproduce(
    stage: str, root: Path, groups: ProcessGroups, log: Callable[[str], None], env: Mapping[str, str]
) -> Done:
    done: Done = "done"
    status: int | None = None
    locked = False
    refused: list[re.Match[str]] = []

    def log_output(line: str) -> None:
        nonlocal done, status, locked
        if (refusal := NOT_KEPT.match(line)) and _is_of_storage(refusal):
            if not refused:
                log(_cache_fault(refusal))
            refused.append(refusal)
            return
        if line.startswith(f"Stage '{stage}'"):
            done = next((word for text, word in DONE.items() if text in line), done)
            line = SKIPPED.get(done, line)
        if exited := EXITED.match(line):
            status = int(exited[1])
        locked = locked or LOCKED.search(line) is not None
        if not _is_advice(line) and not locked:
            log(line)

    # The flag stands before the subcommand; without it parallel calls fail on DVC's lock.
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage]
    try:
        groups.run(command, root, log_output, env)
    except CommandError as error:
        if locked:
            raise CommandError(error.status, [dvc_locks.explain(root)]) from error
        if refused:
            raise CommandError(error.status, [_cache_fault(refused[0])]) from error
        tail = [line for line in error.tail if not _is_advice(line)]
        raise CommandError(error.status if status is None else status, tail) from error
    if refused:
        raise CommandError(1, [_cache_fault(refused[0])])
    return done


def _is_advice(line: str) -> bool:
    """Whether the flow says the same, or DVC advises what only a person at a terminal does."""
    return line.strip().startswith(ADVICE) or EXITED.match(line) is not None


def _is_of_storage(refusal: re.Match[str]) -> bool:
    return refusal["what"] == "transfer" or int(refusal["errno"] or 0) in STORAGE_FAULTS


def _cache_fault(refusal: re.Match[str]) -> str:
    """Why the cache did not take the outputs, in one line."""
    fault, remedy = STORAGE_FAULTS.get(int(refusal["errno"] or 0), (refusal["reason"], "correct that"))
    return f"DVC could not keep what the stage wrote: {fault}; {remedy}, and the next run repeats the stage"


def failure_message(stage: str, error: CommandError) -> str:
    """What failed, the last lines of its output, and the command that repeats it."""
    tail = "\n".join(f"  {line}" for line in error.tail)
    return f"{failure_line(stage, error)}; the last lines of its output:\n{tail}"


def failure_line(stage: str, error: CommandError) -> str:
    """What failed and the command that repeats it, for a reader who has its output above."""
    return f"stage {stage} failed with {error}; run it again with: dvc repro --single-item {stage}"


def running(root: Path) -> set[str]:
    """The stages of the checkout `root` that DVC runs now, on this machine."""
    commands = dvc_locks.processes(root).values()
    return {command.split()[-1] for command in commands if " repro " in command}
