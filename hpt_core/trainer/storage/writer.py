"""Writes a checkpoint: each rank its shards, then the main rank all else, and its name by one rename."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hpt_core import tables
from hpt_core.errors import CheckpointError, one_line, storage_fault
from hpt_core.files import write_json
from hpt_core.fingerprint import FILE, file_hash, file_hashes, write_sealed
from hpt_core.trainer import step_records
from hpt_core.trainer.ranks import Ranks
from hpt_core.trainer.step_records import Records
from hpt_core.trainer.storage import shards
from hpt_core.trainer.storage.run_folder import CONTENTS, WAITING, RunFolder, Waiting
from hpt_core.trainer.storage.shards import Shard
from hpt_core.trainer.storage.whole_folders import make_empty, put_in_place, sync, temporary

T = TypeVar("T")


class Snapshot(NamedTuple):
    """A checkpoint in host memory, which training changes no more."""

    step: int
    shards: Mapping[str, Shard]
    optimizers: Sequence[str]
    records: Records
    waiting: Waiting


class Writer:
    """Writes the checkpoints of one run."""

    def __init__(self, folder: RunFolder, ranks: Ranks) -> None:
        """`ranks` exchange through a group that no other thread uses."""
        self.folder, self.ranks = folder, ranks
        self.records: dict[str, dict[str, Any]] = {}
        """Folder of records -> its number of rows, by table, and the checksums of its files."""

    def write(self, snapshot: Snapshot) -> None:
        """Write the checkpoint and remove older weights. All ranks call this, and all raise where one fails;
        the checkpoint before is then still there.
        """
        target = self.folder.at("weights", snapshot.step)
        folder = temporary(target)
        self._together(lambda: make_empty(folder), on=[0])
        written = self._together(lambda: self._write_shards(snapshot.shards, folder))
        self._together(lambda: self._complete(snapshot, target, written), on=[0])
        self.folder.forget_fault(snapshot.step)

    def _write_shards(self, held: Mapping[str, Shard], folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
        """This rank's part of the index, and the checksum of its file."""
        path = folder / f"rank{self.ranks.index}of{self.ranks.count}.safetensors"
        index = shards.write(held, path)
        sync(path)
        return index, {path.name: file_hash(path)}

    def _complete(
        self,
        snapshot: Snapshot,
        target: Path,
        written: Sequence[tuple[dict[str, Any], dict[str, str]]],
    ) -> None:
        write_json(self.folder.path / FILE, self.folder.inputs)
        self._write_records(snapshot)
        folder = temporary(target)
        files = {name: digest for _, hashes in written for name, digest in hashes.items()}
        if snapshot.waiting.rows:
            tables.write(folder / WAITING, snapshot.waiting.rows, tables.WAITING_ROLLOUTS)
            files[WAITING] = file_hash(folder / WAITING)
        contents = {
            "optimizers": snapshot.optimizers,
            "records": self.records,
            "versions": snapshot.waiting.versions,
            "tensors": shards.joined([index for index, _ in written]),
            "files": files,
        }
        write_sealed(folder / CONTENTS, contents)
        put_in_place(target)
        self.folder.remove_before(snapshot.step)

    def _write_records(self, snapshot: Snapshot) -> None:
        target = self.folder.at("records", snapshot.step)
        folder = make_empty(temporary(target))
        snapshot.records.write(folder)
        self.records[target.name] = {"rows": step_records.counts(folder), "files": file_hashes(folder)}
        put_in_place(target)

    def _together(self, work: Callable[[], T], on: Sequence[int] | None = None) -> list[T]:
        """What `work` returns on the ranks `on`, by default on all; where it fails on one, all raise."""
        results, fault, cause = list[T](), None, None
        try:
            if on is None or self.ranks.index in on:
                results.append(work())
        except Exception as error:
            fault, cause = storage_fault(error) or one_line(error), error
        outcomes = self.ranks.gather([(results, fault)])
        if cause is not None:
            raise cause
        for rank, (_, fault) in enumerate(outcomes):
            if fault is not None:
                raise CheckpointError(f"{self.folder.path}: rank {rank} wrote no checkpoint: {fault}")
        return [result for of_rank, _ in outcomes for result in of_rank]
