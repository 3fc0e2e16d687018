"""The finished parts of a long stage, kept until it is complete: after a `kill -9` it repeats one part.

    ROOT/FINGERPRINT/run.json         the inputs behind the fingerprint
    ROOT/FINGERPRINT/000032.parquet   the rows of part 32, either complete or not there
    ROOT/FINGERPRINT/000032.sha256    checksums of what that file may hold: it is written before the file

ROOT is outside of the stage's outputs, which DVC removes before it runs the stage again. The stage writes its
outputs from the shards alone, so the outputs are the same whether the run was interrupted or not.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from hpt_core import tables
from hpt_core.errors import CheckpointError, InputError
from hpt_core.files import replacing, write_json
from hpt_core.fingerprint import (
    FILE,
    RunInputs,
    code_hash,
    differences,
    file_hash,
    fingerprint,
    library_versions,
    model_file_hashes,
)
from hpt_core.types import Prompt
from hpt_core.verifier import installed_versions
from pipelines.stage import generation
from pipelines.stage.progress import ProgressBar

log = logging.getLogger(__name__)
ShardRow = dict[str, Any]
"""A response with its verdict, in the columns of the stage's schema."""
KEY = ["prompt_id", "sample"]
REMEDY = "remove the file to make its part anew"
CHECKSUMS = ".sha256"


@dataclass(frozen=True)
class Part:
    """A unit of work: `samples` responses to each of `prompts`."""

    prompts: Sequence[Prompt]
    samples: int
    make: Callable[[], list[ShardRow]]
    """Make the rows, in the order of `keys`."""

    @property
    def keys(self) -> list[tuple[str, int]]:
        """Prompt and sample of every row."""
        return [(prompt.prompt_id, i) for prompt in self.prompts for i in range(self.samples)]


class Shards:
    """The shards of one run; a run of other inputs has another fingerprint and so another folder."""

    def __init__(self, root: Path, inputs: RunInputs, schema: pa.Schema) -> None:
        """`inputs` decide the rows; `schema` has the columns prompt_id and sample."""
        self.root, self.inputs, self.schema = root, inputs, schema
        self.folder = root / fingerprint(inputs)

    def finish(self, parts: Sequence[Part], purpose: str, length: Callable[[ShardRow], int]) -> None:
        """Make every part that has no shard yet; `length` is the number of generated tokens of a row.

        Raises CheckpointError for a shard that does not fit its part.
        """
        self.finish_in_turn(parts, sum(len(part.prompts) for part in parts), purpose, length)

    def finish_in_turn(
        self, parts: Iterable[Part], total: int, purpose: str, length: Callable[[ShardRow], int]
    ) -> range:
        """Does what `finish` does, for an iterable that may read earlier parts to choose the next one.

        The parts have at most `total` prompts. Returns the numbers of the parts.
        """
        self._warn_of_other_runs()
        write_json(self.folder / FILE, self.inputs)
        number = -1
        with ProgressBar(purpose, total) as bar:
            for number, part in enumerate(parts):
                if self._is_complete(number, part):
                    bar.skip(len(part.prompts))
                    continue
                if bar.done == bar.before > 0:
                    log.info("%s: resuming after %d of %d prompts", purpose, bar.before, total)
                rows = part.make()
                self.replace(number, rows)
                bar.advance(len(part.prompts), sum(map(length, rows)))
        return range(number + 1)

    def rows(self, numbers: Iterable[int]) -> Iterator[ShardRow]:
        """The rows of these parts, in order, with one shard in memory at a time."""
        for number in numbers:
            yield from self._read(number)

    def replace(self, number: int, rows: Sequence[ShardRow]) -> None:
        """Write the rows of part `number`, or overwrite them with rows of the same prompts and samples."""
        path = self._path(number)
        with replacing(path) as temporary:
            tables.write(temporary, rows, self.schema)
            with path.with_suffix(CHECKSUMS).open("a") as file:
                file.write(f"{file_hash(temporary)}\n")

    def discard(self) -> None:
        """Remove the shards of this run and of all others, once the outputs are complete."""
        shutil.rmtree(self.root)

    def _is_complete(self, number: int, part: Part) -> bool:
        if not self._path(number).exists():
            return False
        keys = [(row["prompt_id"], row["sample"]) for row in self._read(number, KEY)]
        if keys != part.keys:
            reason = f"it has {len(keys)} rows of other prompts or samples"
            raise CheckpointError(f"{self._path(number)}: cannot be used: {reason}; {REMEDY}")
        return True

    def _read(self, number: int, columns: list[str] | None = None) -> list[ShardRow]:
        self._verify(self._path(number))
        try:
            return tables.read(self._path(number), self.schema, columns=columns, remedy=REMEDY)
        except InputError as error:
            raise CheckpointError(str(error)) from error

    def _verify(self, path: Path) -> None:
        """Raises CheckpointError where the file is not as it was written."""
        checksums = path.with_suffix(CHECKSUMS)
        written = checksums.read_text().split() if checksums.exists() else []
        if path.exists() and file_hash(path) not in written:
            raise CheckpointError(f"{path}: has other bytes than were written; {REMEDY}")

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"

    def _warn_of_other_runs(self) -> None:
        for other in sorted(self.root.glob("*/")):
            if other != self.folder and any(other.glob("*.parquet")):
                log.warning(
                    "%s: shards of a run with other %s are not used. They are removed once this run is done",
                    other,
                    differences(other / FILE, self.inputs),
                )


def run_inputs(
    parameters: Mapping[str, Any],
    weights: str,
    model: Path,
    prompts: Path,
    stage: str,
    kinds: Iterable[str] = (),
) -> dict[str, Any]:
    """All that decides the responses of the policy in the folder `model` to the prompts of a file, by name.

    `parameters` are those that the responses depend on, `weights` is the hash of the policy's weights,
    `stage` is the stage's own module file, and `kinds` are the answer kinds of the prompts. Raises InputError
    for a kind that no package brings any more.
    """
    return {
        **parameters,
        "weights": weights,
        "model": model_file_hashes(model),
        "prompts": file_hash(prompts),
        "code": code_hash(__file__, generation.__file__, stage),
        "verifiers": installed_versions(kinds),
        **library_versions(parameters["rollout"]["engine"]),
    }
