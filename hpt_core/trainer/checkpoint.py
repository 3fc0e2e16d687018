"""Checkpoints that survive `kill -9`: shards of tensors and JSON, each folder put in place by one rename.

Every rank copies its shards to host memory, which is all that training waits for, and writes them in a
thread; no rank gathers the weights. `storage.run_folder` has the layout. All randomness of training is a
function of seed and step, so no random state is saved. A rank reads the slices that it needs, so that a run
can be resumed with another number of ranks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from torch import nn
from torch.optim import Optimizer

from hpt_core.errors import CheckpointError, one_line
from hpt_core.fingerprint import RunInputs, read_sealed
from hpt_core.tables import GateRow
from hpt_core.trainer.ranks import ALONE, Ranks
from hpt_core.trainer.step_records import Records
from hpt_core.trainer.storage.run_folder import CONTENTS, NOTHING_WAITING, RunFolder, Waiting
from hpt_core.trainer.storage.shards import SavedTensors, copied_to_host
from hpt_core.trainer.storage.trained_tensors import load, trained_tensors
from hpt_core.trainer.storage.writer import Snapshot, Writer

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run; another set of parameters or data has another fingerprint.

    All ranks construct it, and call `newest`, `resume` and `save` in the same order. Whatever reads, and the
    next `save`, first waits for the checkpoint that is being written, and raises the error that ended it. So
    does the end of a `with`; where its block raised another error, that of the writing is logged.
    """

    def __init__(
        self,
        root: Path,
        fingerprint: str,
        inputs: RunInputs | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """`inputs` is what the fingerprint hashes; warnings name the inputs in which a run differs."""
        self.root, self.folder, self.ranks = root, root / fingerprint, ranks
        self._folder = RunFolder(root, fingerprint, inputs or {}, ranks)
        self._writer = Writer(self._folder, ranks.apart("checkpoints"))
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.wait()
        except Exception as error:
            if kind is None:
                raise
            log.error("%s: the newest checkpoint was not written: %s", self.folder, one_line(error))

    def wait(self) -> None:
        """Wait for the checkpoint that is being written; raises the error that ended it, once."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    @property
    def newest(self) -> int:
        """The step of the newest intact checkpoint, of the newest one where none is intact; 0 without one."""
        return self._stored.newest()

    def resume(self, module: nn.Module, optimizers: Sequence[Optimizer]) -> int:
        """Load the newest intact checkpoint and return its step; 0, without any change, when there is none.

        Raises CheckpointError where all are damaged, since only the user may decide to start from scratch.
        """
        stored = self._stored
        newest = stored.newest()
        if not newest:
            stored.check_start()
            return 0
        weights = stored.at("weights", newest)
        if fault := stored.fault(newest):
            raise CheckpointError(self._refusal(weights, fault))
        for step in stored.steps("weights"):
            if step > newest:
                message = "%s: cannot be read (%s); training goes on from step %d, which is intact"
                log.warning(message, stored.at("weights", step), stored.fault(step), newest)
        try:
            contents = read_sealed(weights / CONTENTS)
            if contents["optimizers"] != _names(optimizers):
                raise ValueError(f"its optimizers are {contents['optimizers']}, not {_names(optimizers)}")
            with SavedTensors(weights, contents["tensors"]) as saved:
                load(saved, module, optimizers)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise CheckpointError(self._refusal(weights, str(error))) from error
        self._writer.records = contents["records"]
        return newest

    def save(
        self,
        step: int,
        module: nn.Module,
        optimizers: Sequence[Optimizer],
        since: Records,
        waiting: Waiting = NOTHING_WAITING,
    ) -> None:
        """Copy the checkpoint of `step` to host memory and begin to write it; clear the records `since` the
        last one. When it is written, older weights are removed.
        """
        self.wait()
        held = copied_to_host(trained_tensors(module, optimizers), main=self.ranks.main)
        snapshot = Snapshot(step, held, _names(optimizers), since.moved(), waiting)
        self._writing = self._thread.submit(self._writer.write, snapshot)

    def waiting(self, step: int) -> Waiting:
        """What `save` was given with checkpoint `step`."""
        return self._stored.waiting(step)

    def rows(self, table: str, until: int) -> Iterator[dict[str, Any]]:
        """Rows of "rollouts" or "gate" of all steps up to checkpoint `until`, in order."""
        return self._stored.rows(table, until)

    def gate_rows(self, until: int) -> Iterator[GateRow]:
        for row in self.rows("gate", until):
            yield cast(GateRow, row)

    def metrics(self, until: int) -> list[dict[str, float]]:
        return self._stored.metrics(until)

    def discard(self) -> None:
        """Remove the checkpoints of this and of every other fingerprint: the run is complete."""
        self._stored.discard()

    @property
    def _stored(self) -> RunFolder:
        """What is on the disk, when nothing is being written."""
        self.wait()
        return self._folder

    def _refusal(self, weights: Path, fault: str) -> str:
        return f"{weights}: cannot be read ({fault}); remove {self.folder} to train from the start"


def _names(optimizers: Sequence[Optimizer]) -> list[str]:
    return [type(optimizer).__name__ for optimizer in optimizers]
