"""What a long stage has made so far, kept until all of it is: a `kill -9` costs the part in work.

    ROOT/FINGERPRINT/run.json         what the fingerprint was made of
    ROOT/FINGERPRINT/000032.parquet   the rows of part 32, there as a whole or not at all

ROOT lies outside of the stage's outputs, which DVC removes before it runs the stage again. Outputs are read
from the shards alone, so that they cannot tell whether the run was interrupted.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hpt_core import tables
from hpt_core.errors import CheckpointError
from hpt_core.fingerprint import (
    FILE,
    RunInputs,
    code,
    differences,
    file_hash,
    fingerprint,
    libraries,
    model_files,
)
from hpt_core.types import Prompt
from pipelines.stage import generation
from pipelines.stage.progress import ProgressBar

log = logging.getLogger(__name__)
Row = dict[str, Any]
KEY = ["prompt_id", "sample"]


@dataclass(frozen=True)
class Part:
    """What is made at once: the rows of `samples` responses to each of `prompts`, in order."""

    prompts: Sequence[Prompt]
    samples: int
    make: Callable[[], list[Row]]

    @property
    def key(self) -> list[tuple[str, int]]:
        """What names its rows."""
        return [(prompt.prompt_id, i) for prompt in self.prompts for i in range(self.samples)]


class Shards:
    """The shards of one run; a run made of anything else has another fingerprint."""

    def __init__(self, root: Path, inputs: RunInputs, schema: pa.Schema) -> None:
        """`inputs` is all that decides the rows, by name; `schema` has the columns prompt_id and sample."""
        self.root, self.inputs, self.schema = root, inputs, schema
        self.folder = root / fingerprint(inputs)

    def finish(self, parts: Sequence[Part], purpose: str, length: Callable[[Row], int]) -> None:
        """Make every part that has no shard yet; `length` is how many tokens of a row were generated.

        Raises CheckpointError for a shard that does not fit its part.
        """
        self.follow(parts, sum(len(part.prompts) for part in parts), purpose, length)

    def follow(self, parts: Iterable[Part], total: int, purpose: str, length: Callable[[Row], int]) -> range:
        """`finish` for parts that are cut on the way, by what the ones before them gave.

        They have `total` prompts at most. Returns their numbers.
        """
        self._warn()
        tables.write_json(self.folder / FILE, self.inputs)
        number = -1
        with ProgressBar(purpose, total) as bar:
            for number, part in enumerate(parts):
                if self._holds(number, part):
                    bar.skip(len(part.prompts))
                    continue
                if bar.done == bar.before > 0:
                    log.info("%s: goes on after %d of %d prompts", purpose, bar.before, total)
                rows = part.make()
                tables.write(self._at(number), rows, self.schema)
                bar.advance(len(part.prompts), sum(map(length, rows)))
        return range(number + 1)

    def rows(self, numbers: Iterable[int]) -> Iterator[Row]:
        """The rows of these parts, in order; one shard is in memory at a time."""
        for number in numbers:
            yield from self._read(number)

    def replace(self, number: int, rows: Sequence[Row]) -> None:
        """Put `rows` in the place of those of part `number`: the same prompts and samples, known better."""
        tables.write(self._at(number), rows, self.schema)

    def discard(self) -> None:
        """Remove the shards of this and of every other fingerprint: the outputs stand."""
        shutil.rmtree(self.root)

    def _holds(self, number: int, part: Part) -> bool:
        if not self._at(number).exists():
            return False
        found = [(row["prompt_id"], row["sample"]) for row in self._read(number, KEY)]
        if found != part.key:
            raise self._misfit(number, f"it has {len(found)} rows of other prompts or samples")
        return True

    def _read(self, number: int, columns: list[str] | None = None) -> list[Row]:
        try:
            with pq.ParquetFile(self._at(number)) as file:
                names = file.schema_arrow.names
                if names != self.schema.names:
                    raise self._misfit(number, f"it has columns {names}, not {self.schema.names}")
                rows: list[Row] = file.read(columns=columns).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise self._misfit(number, str(error)) from error
        return rows

    def _misfit(self, number: int, reason: str) -> CheckpointError:
        path = self._at(number)
        return CheckpointError(f"{path}: cannot be used: {reason}; remove the file to make its part anew")

    def _at(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"

    def _warn(self) -> None:
        """What does not go on."""
        for other in sorted(self.root.glob("*/")):
            if other != self.folder and any(other.glob("*.parquet")):
                log.warning(
                    "%s: shards of a run with other %s are not used. They stay until this run is done",
                    other,
                    differences(other / FILE, self.inputs),
                )


def run_inputs(
    used: Mapping[str, Any], weights: str, model: Path, prompts: Path, stage: str
) -> dict[str, Any]:
    """All that decides what the policy in `model` says to the prompts of a file, by name.

    `used` are the parameters, `weights` is their hash, `stage` the stage's own file.
    """
    return {
        **used,
        "weights": weights,
        "model": model_files(model),
        "prompts": file_hash(prompts),
        "code": code(__file__, generation.__file__, stage),
        **libraries(used["rollout"]["engine"]),
    }
