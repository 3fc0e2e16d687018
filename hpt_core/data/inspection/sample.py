"""The first rows of a file or of a hub's data set, and where they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hpt_core.config import PromptSource
from hpt_core.data.inspection.entries import Origin
from hpt_core.data.reading.files.names import format_of
from hpt_core.data.reading.formats import PlacedRecord
from hpt_core.data.reading.records import BadLine, Record
from hpt_core.data.reading.sources import records_in
from hpt_core.errors import InputError

_HUB_ID = re.compile(r"[\w-]+/[\w.-]+")


@dataclass(frozen=True)
class Sample:
    """Rows from the top of a data set."""

    origin: Origin
    records: list[PlacedRecord]
    """What the reader of sources gives, lines without a row included."""
    complete: bool
    """Whether these are all rows."""

    @property
    def rows(self) -> list[Record]:
        return [record for _, _, record in self.records if not isinstance(record, BadLine)]

    @property
    def bad_lines(self) -> list[tuple[int, BadLine]]:
        return [(line, record) for _, line, record in self.records if isinstance(record, BadLine)]


def read_sample(
    data: str,
    rows: int,
    root: str | None = None,
    subset: str | None = None,
    split: str | None = None,
    revision: str | None = None,
) -> Sample:
    """The first `rows` rows of a file or, where there is no such file, of the hub's data set of that name.

    Raises InputError if there is neither, or if it has no row.
    """
    origin = _origin(data, root, subset, split, revision)
    keys = {key: value for key, value in origin.keys.items() if key != "revision"} | {"revision": revision}
    source = PromptSource(name=origin.name, answer_kind="exact", **(keys if origin.hub else origin.keys))
    try:
        read = list(islice(records_in(source, streaming=True), rows + 1))
    except InputError as error:
        # No source of params.yaml names this file, so the message must not send a user there.
        message = str(error).replace(f" of source {origin.name!r} in params.yaml", "")
        raise InputError(message.replace("correct `file`", "correct the path")) from error
    sample = Sample(origin, read[:rows], complete=len(read) <= rows)
    if not sample.rows:
        why = "; ".join(f"line {number}: {bad.reason}: {bad.detail}" for number, bad in sample.bad_lines[:1])
        raise InputError(
            f"{data} has no rows{f' that can be read ({why})' if why else ''}; give another file"
        )
    return sample


def _origin(
    data: str, root: str | None, subset: str | None, split: str | None, revision: str | None
) -> Origin:
    """Where `data` is. A name of the form ORG/NAME is a hub id unless it is, or looks like, a local path."""
    is_local = format_of(data) or Path(data).exists() or Path(data).parent.is_dir()
    if is_local or not _HUB_ID.fullmatch(data):
        if subset or split or revision:
            raise InputError(f"{data}: --subset, --split and --revision are for sets of the hub; drop them")
        return Origin(file=data, root=root)
    if root:
        raise InputError(f"{data}: --root is for JSON files; drop it")
    card = _card(data, revision)
    return Origin(
        hub=data,
        subset=subset,
        split=split,
        revision=card.get("sha") or revision,
        license=card.get("license"),
    )


def _card(hub_id: str, revision: str | None) -> dict[str, Any]:
    """The commit and the license of a hub's data set; nothing where the hub does not say."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        info = HfApi().dataset_info(hub_id, revision=revision)
    # Without the hub, rows may still come from its cache on this machine.
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError):
        return {}
    license = getattr(info.card_data, "license", None)
    return {"sha": info.sha, "license": ", ".join(license) if isinstance(license, list) else license}
