"""Checkpoints that survive `kill -9`: tensors and JSON, each folder put in place by one rename.

    ROOT/FINGERPRINT/run.json          the inputs behind the fingerprint
    ROOT/FINGERPRINT/records/000020/   rollouts, gate decisions and metrics since the last checkpoint
    ROOT/FINGERPRINT/weights/000020/   policy and optimizer; its appearance makes the checkpoint valid.
                                       With rollout.lag, also the rollouts that later steps train on

All randomness of training is a function of seed and step, so no random state is saved. Tensors are full, so
that a run can be resumed with another number of ranks. contents.json beside the weights has a checksum of
every file, and a checkpoint with a changed byte is refused.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from hpt_core import tables
from hpt_core.errors import CheckpointError
from hpt_core.files import write_json
from hpt_core.fingerprint import (
    FILE,
    RunInputs,
    check_files,
    differences,
    file_hashes,
    read_sealed,
    write_sealed,
)
from hpt_core.tables import GateRow
from hpt_core.trainer import full_state, step_records
from hpt_core.trainer.ranks import ALONE, Ranks
from hpt_core.trainer.step_records import Records

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


class Checkpoints:
    """The checkpoints of one run; another set of parameters or data has another fingerprint."""

    def __init__(
        self,
        root: Path,
        fingerprint: str,
        inputs: RunInputs | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """`inputs` is what the fingerprint hashes; warnings name the inputs in which a run differs."""
        self.root = root
        self.folder = root / fingerprint
        self.inputs = inputs or {}
        self.ranks = ranks
        self._records_written: dict[str, dict[str, Any]] = {}
        """Folder of records -> its number of rows, by table, and the checksums of its files."""
        self._faults: dict[int, Exception | None] = {}
        """Step -> what is wrong with its checkpoint, where that was looked at."""

    @property
    def newest(self) -> int:
        """The step of the newest intact checkpoint, of the newest one where none is intact; 0 without one."""
        steps = _steps(self.folder / "weights")
        intact = (step for step in reversed(steps) if self._fault(step) is None)
        return next(intact, max(steps, default=0))

    def resume(self, module: nn.Module, optimizers: Sequence[Optimizer]) -> int:
        """Load the newest intact checkpoint and return its step; 0, without any change, when there is none.

        Raises CheckpointError where all are damaged, since only the user may decide to start from scratch.
        """
        newest = self.newest
        if len(set(self.ranks.gather([(self.folder.name, newest)]))) > 1:
            raise CheckpointError(
                f"{self.folder}: not all processes of this run find its step {newest}; every node needs "
                "the same code, params.yaml and data, and one checkpoints folder that they share"
            )
        if not newest:
            self._start()
            return 0
        weights = self._at("weights", newest)
        if fault := self._fault(newest):
            raise CheckpointError(self._refusal(weights, fault)) from fault
        for step in _steps(self.folder / "weights"):
            if step > newest:
                message = "%s: cannot be read (%s); training goes on from step %d, which is intact"
                log.warning(message, self._at("weights", step), self._fault(step), newest)
        try:
            contents = read_sealed(weights / CONTENTS)
            if contents["optimizers"] != _names(optimizers):
                raise ValueError(f"its optimizers are {contents['optimizers']}, not {_names(optimizers)}")
            full_state.load_weights(module, load_file(weights / "model.safetensors"))
            full_state.load_moments(optimizers, load_file(weights / "optimizers.safetensors"))
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise CheckpointError(self._refusal(weights, error)) from error
        self._records_written = contents["records"]
        return newest

    def _refusal(self, weights: Path, error: Exception) -> str:
        return f"{weights}: cannot be read ({error}); remove {self.folder} to train from the start"

    def _fault(self, step: int) -> Exception | None:
        """What shows that the checkpoint of `step` or a record up to it is not as it was written."""
        if step not in self._faults:
            try:
                self._check(self._at("weights", step))
                self._faults[step] = None
            except (OSError, ValueError, KeyError) as error:
                self._faults[step] = error
        return self._faults[step]

    def save(
        self,
        step: int,
        module: nn.Module,
        optimizers: Sequence[Optimizer],
        since: Records,
        waiting: Waiting = NOTHING_WAITING,
    ) -> None:
        """Write the checkpoint of `step`, clear the records `since` the last one, remove older weights.

        All ranks call this; the main rank writes, and the others wait for it.
        """
        policy = self._collected(full_state.weights(module))
        moments = self._collected(full_state.moments(optimizers))
        if self.ranks.main:
            write_json(self.folder / FILE, self.inputs)
            with _placed(self._at("records", step)) as folder:
                since.write(folder)
                written = {"rows": step_records.counts(folder), "files": file_hashes(folder)}
                self._records_written[self._at("records", step).name] = written
            with _placed(self._at("weights", step)) as folder:
                save_file(policy, folder / "model.safetensors")
                save_file(moments, folder / "optimizers.safetensors")
                if waiting.rows:
                    tables.write(folder / WAITING, waiting.rows, tables.WAITING_ROLLOUTS)
                contents = {
                    "optimizers": _names(optimizers),
                    "records": self._records_written,
                    "versions": waiting.versions,
                    "files": file_hashes(folder),
                }
                write_sealed(folder / CONTENTS, contents)
            self._faults.pop(step, None)
            for old in _steps(self.folder / "weights"):
                if old < step:
                    shutil.rmtree(self._at("weights", old))
        since.clear()
        self.ranks.wait()

    def waiting(self, step: int) -> Waiting:
        """What `save` was given with checkpoint `step`."""
        folder = self._at("weights", step)
        if not (folder / WAITING).exists():
            return NOTHING_WAITING
        rows = list(tables.read(folder / WAITING, remedy=step_records.REMEDY))
        return Waiting(rows, read_sealed(folder / CONTENTS)["versions"])

    def rows(self, table: str, until: int) -> Iterator[dict[str, Any]]:
        """Rows of "rollouts" or "gate" of all steps up to checkpoint `until`, in order."""
        for folder in self._records(until):
            yield from step_records.rows(folder, table)

    def gate_rows(self, until: int) -> Iterator[GateRow]:
        for row in self.rows("gate", until):
            yield cast(GateRow, row)

    def metrics(self, until: int) -> list[dict[str, float]]:
        return [row for folder in self._records(until) for row in step_records.metrics(folder)]

    def discard(self) -> None:
        """Remove the checkpoints of this and of every other fingerprint: the run is complete."""
        if self.root.exists():
            # The rename comes first, so that a kill during removal leaves no weights without records.
            renamed = self.root.with_name(f".{self.root.name}.done")
            shutil.rmtree(renamed, ignore_errors=True)
            os.replace(self.root, renamed)
            shutil.rmtree(renamed)

    def _start(self) -> None:
        """Without a checkpoint: raise if there was one, and warn of checkpoints of other runs."""
        kept = _steps(self.folder / "records")
        # The newest records may lack their weights, if the run was killed between the two.
        if len(kept) > 1:
            raise CheckpointError(
                f"{self.folder}: the weights of step {max(kept)} are gone, its records are not; remove the "
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

    def _check(self, weights: Path) -> None:
        """Raises ValueError, KeyError or OSError for files that are not as they were written."""
        contents = read_sealed(weights / CONTENTS)
        check_files(weights, contents["files"])
        for name, written in contents["records"].items():
            folder = self.folder / "records" / name
            if (counts := step_records.counts(folder)) != written["rows"]:
                raise ValueError(f"{folder} has {counts} rows of {written['rows']}")
            check_files(folder, written["files"])

    def _collected(self, tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors in memory on the main rank; every other rank only contributes its shards."""
        kept = {}
        for name, tensor in tensors:
            if self.ranks.main:
                kept[name] = tensor.cpu().contiguous()
        return kept

    def _records(self, until: int) -> list[Path]:
        return [self._at("records", step) for step in _steps(self.folder / "records") if step <= until]

    def _at(self, part: str, step: int) -> Path:
        return self.folder / part / f"{step:06d}"


def _steps(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.glob("[0-9]*"))


def _names(optimizers: Sequence[Optimizer]) -> list[str]:
    return [type(optimizer).__name__ for optimizer in optimizers]


class _placed:
    """A folder that appears under its name only if the block raises nothing."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.temporary = target.with_name(f".{target.name}.tmp")

    def __enter__(self) -> Path:
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        return self.temporary

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            return
        for path in self.temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        # A folder of this name was left by a run that was killed between its records and its weights.
        shutil.rmtree(self.target, ignore_errors=True)
        os.replace(self.temporary, self.target)
