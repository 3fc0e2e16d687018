"""What is on the disk of one run: which of its checkpoints are intact, and the records of their steps.

    ROOT/FINGERPRINT/run.json          the inputs behind the fingerprint
    ROOT/FINGERPRINT/records/000020/   rollouts, gate decisions and metrics since the last checkpoint
    ROOT/FINGERPRINT/weights/000020/   a file of shards of each rank; its appearance makes the checkpoint
                                       valid. With rollout.lag, also the rollouts that later steps train on

contents.json beside the shards says which part of which tensor is where, and has a checksum of every file of
weights and records. A checkpoint with a changed byte is refused.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hpt_core import tables
from hpt_core.errors import CheckpointError
from hpt_core.fingerprint import FILE, RunInputs, check_files, differences, read_sealed
from hpt_core.trainer import step_records
from hpt_core.trainer.ranks import Ranks

log = logging.getLogger(__name__)
CONTENTS = "contents.json"
WAITING = "waiting.parquet"


class Waiting(NamedTuple):
    """The rollouts that steps after a checkpoint train on, and the weights that may have drawn them."""

    rows: Sequence[dict[str, Any]]
    """Of `tables.WAITING_ROLLOUTS`, in the order of steps."""
    versions: Sequence[str]
    """Hashes of the weights before the last steps, oldest first."""


NOTHING_WAITING = Waiting((), ())


class RunFolder:
    """The folder of one run. All ranks must call `newest` and `fault` in the same order."""

    def __init__(self, root: Path, fingerprint: str, inputs: RunInputs, ranks: Ranks) -> None:
        self.root, self.path, self.inputs, self.ranks = root, root / fingerprint, inputs, ranks
        self._faults: dict[int, str | None] = {}
        """Step -> what is wrong with its checkpoint, where that was looked at."""

    def at(self, part: str, step: int) -> Path:
        return self.path / part / f"{step:06d}"

    def steps(self, part: str) -> list[int]:
        return _steps(self.path / part)

    def newest(self) -> int:
        """The step of the newest intact checkpoint, of the newest one where none is intact; 0 without one.

        Raises CheckpointError where ranks find other checkpoints than the main rank.
        """
        steps = self.steps("weights")
        found = self.ranks.gather([(self.path.name, steps)])
        if any(each != found[0] for each in found):
            raise CheckpointError(
                f"{self.path}: not all processes of this run find its step {max(steps, default=0)}; every "
                "node needs the same code, params.yaml and data, and one checkpoints folder that they share"
            )
        intact = (step for step in reversed(steps) if self.fault(step) is None)
        return next(intact, max(steps, default=0))

    def fault(self, step: int) -> str | None:
        """What shows that the checkpoint of `step` or a record up to it is not as it was written.

        Ranks share the files, so that each byte is read for its checksum once.
        """
        if step not in self._faults:
            found: list[str] = []
            try:
                self._check(self.at("weights", step))
            except (OSError, ValueError, KeyError) as error:
                found.append(str(error))
            self._faults[step] = next(iter(self.ranks.gather(found)), None)
        return self._faults[step]

    def forget_fault(self, step: int) -> None:
        """The checkpoint of `step` has been written anew."""
        self._faults.pop(step, None)

    def _check(self, weights: Path) -> None:
        """Raises ValueError, KeyError or OSError for files that are not as they were written."""
        contents = read_sealed(weights / CONTENTS)
        check_files(weights, dict(self.ranks.share(sorted(contents["files"].items()))))
        for name, written in self.ranks.share(sorted(contents["records"].items())):
            folder = self.path / "records" / name
            if (counts := step_records.counts(folder)) != written["rows"]:
                raise ValueError(f"{folder} has {counts} rows of {written['rows']}")
            check_files(folder, written["files"])

    def check_start(self) -> None:
        """Without a checkpoint: raise if there was one, and warn of checkpoints of other runs."""
        kept = self.steps("records")
        # The newest records may lack their weights, if the run was killed between the two.
        if len(kept) > 1:
            raise CheckpointError(
                f"{self.path}: the weights of step {max(kept)} are gone, its records are not; remove the "
                "folder to train from the start"
            )
        for folder in sorted(self.root.glob("*/weights")) if self.ranks.main else ():
            if steps := _steps(folder):
                log.warning(
                    "%s: step %d of a run with other %s is not resumed. Training starts anew, and leaves it "
                    "there until it is done",
                    folder.parent,
                    max(steps),
                    differences(folder.parent / FILE, self.inputs),
                )

    def records(self, until: int) -> list[Path]:
        return [self.at("records", step) for step in self.steps("records") if step <= until]

    def waiting(self, step: int) -> Waiting:
        """What was saved of waiting rollouts with checkpoint `step`."""
        folder = self.at("weights", step)
        if not (folder / WAITING).exists():
            return NOTHING_WAITING
        rows = list(tables.read(folder / WAITING, remedy=step_records.REMEDY))
        return Waiting(rows, read_sealed(folder / CONTENTS)["versions"])

    def rows(self, table: str, until: int) -> Iterator[dict[str, Any]]:
        for folder in self.records(until):
            yield from step_records.rows(folder, table)

    def metrics(self, until: int) -> list[dict[str, float]]:
        return [row for folder in self.records(until) for row in step_records.metrics(folder)]

    def remove_before(self, step: int) -> None:
        """Remove the weights of older checkpoints."""
        for old in self.steps("weights"):
            if old < step:
                shutil.rmtree(self.at("weights", old))

    def discard(self) -> None:
        """Remove the checkpoints of this and of every other fingerprint."""
        if self.root.exists():
            # The rename comes first, so that a kill during removal leaves no weights without records.
            renamed = self.root.with_name(f".{self.root.name}.done")
            shutil.rmtree(renamed, ignore_errors=True)
            os.replace(self.root, renamed)
            shutil.rmtree(renamed)


def _steps(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.glob("[0-9]*"))
