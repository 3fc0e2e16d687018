"""Checkpoints that a `kill -9` cannot harm: plain tensors and JSON, each put in place in one move.

    ROOT/FINGERPRINT/records/000020/   rollouts, gate decisions and metrics since the last checkpoint
    ROOT/FINGERPRINT/weights/000020/   policy and optimizer; its appearance makes the checkpoint valid

All randomness of training is a function of seed and step, so no random state needs saving.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch.optim import Optimizer
from transformers import PreTrainedModel

from hpt_core.data import tables
from hpt_core.errors import CheckpointError


@dataclass
class Records:
    """What training leaves behind besides weights."""

    rollouts: list[dict[str, Any]] = field(default_factory=list)
    gate: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[dict[str, float]] = field(default_factory=list)

    def clear(self) -> None:
        for part in (self.rollouts, self.gate, self.metrics):
            part.clear()


class Checkpoints:
    """The checkpoints of one run; another set of parameters or data has another fingerprint."""

    def __init__(self, root: Path, fingerprint: str) -> None:
        self.root = root
        self.folder = root / fingerprint

    def resume(self, model: PreTrainedModel, optimizers: Sequence[Optimizer]) -> int:
        """Load the newest checkpoint and return its step; 0, with nothing touched, when there is none.

        Raises CheckpointError when the newest one is damaged: a restart from scratch must be asked for.
        """
        steps = sorted(int(path.name) for path in (self.folder / "weights").glob("[0-9]*"))
        if not steps:
            return 0
        weights = self._at("weights", steps[-1])
        try:
            load_model(model, str(weights / "model.safetensors"))
            states: list[dict[int, dict[str, Any]]] = [{} for _ in optimizers]
            for name, tensor in load_file(weights / "optimizers.safetensors").items():
                number, parameter, key = name.split(".", 2)
                states[int(number)].setdefault(int(parameter), {})[key] = tensor
        except (SafetensorError, OSError, RuntimeError) as error:
            raise CheckpointError(
                f"{weights}: cannot be read ({error}); remove {self.folder} to train from the start"
            ) from error
        for optimizer, state in zip(optimizers, states, strict=True):
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        return steps[-1]

    def save(
        self, step: int, model: PreTrainedModel, optimizers: Sequence[Optimizer], records: Records
    ) -> None:
        """Write the checkpoint of `step`, empty `records`, and drop the weights of older ones."""
        with _placed(self._at("records", step)) as folder:
            tables.write(folder / "rollouts.parquet", records.rollouts, tables.ROLLOUTS)
            tables.write(folder / "gate.parquet", records.gate, tables.GATE)
            lines = [json.dumps(row) for row in records.metrics]
            (folder / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))
        with _placed(self._at("weights", step)) as folder:
            save_model(model, str(folder / "model.safetensors"))
            tensors = {
                f"{number}.{parameter}.{key}": value
                for number, optimizer in enumerate(optimizers)
                for parameter, entry in optimizer.state_dict()["state"].items()
                for key, value in entry.items()
            }
            save_file(tensors, folder / "optimizers.safetensors")
        records.clear()
        for old in (self.folder / "weights").glob("[0-9]*"):
            if int(old.name) < step:
                shutil.rmtree(old)

    def rows(self, table: str, until: int) -> Iterator[dict[str, Any]]:
        """Rows of "rollouts" or "gate" of all steps up to checkpoint `until`, in order."""
        for folder in self._records(until):
            yield from tables.read(folder / f"{table}.parquet")

    def metrics(self, until: int) -> list[dict[str, float]]:
        return [
            json.loads(line)
            for folder in self._records(until)
            for line in (folder / "metrics.jsonl").read_text().splitlines()
        ]

    def discard(self) -> None:
        """Remove the checkpoints of this and of every other fingerprint: the run is complete."""
        if self.root.exists():
            # One move first: whoever dies while removing must not leave weights without their records.
            doomed = self.root.with_name(f".{self.root.name}.done")
            shutil.rmtree(doomed, ignore_errors=True)
            os.replace(self.root, doomed)
            shutil.rmtree(doomed)

    def _records(self, until: int) -> list[Path]:
        found = sorted((self.folder / "records").glob("[0-9]*"))
        return [folder for folder in found if int(folder.name) <= until]

    def _at(self, part: str, step: int) -> Path:
        return self.folder / part / f"{step:06d}"


class _placed:
    """A folder that appears under its name only when the block has ended well."""

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
        # What stands there was left by a run that died between its records and its weights.
        shutil.rmtree(self.target, ignore_errors=True)
        os.replace(self.temporary, self.target)
