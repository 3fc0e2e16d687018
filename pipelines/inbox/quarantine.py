"""Files that cannot be used, each in a folder of its own with the reason, until somebody releases it.

quarantine/ID/NAME is the file, quarantine/ID/reason.json says under which key it was uploaded and what is
wrong.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from hpt_core.errors import InputError
from pipelines.inbox.bucket import Bucket
from pipelines.inbox.receipts import Receipt, parse

FOLDER = "quarantine"
REASON = "reason.json"
_LONGEST = 100
"""Characters of the name that a quarantined file keeps; the whole key is in its reason."""


@dataclass(frozen=True)
class Quarantined:
    """A file in quarantine."""

    receipt: Receipt
    key: str
    """Where it is now."""


def put(bucket: Bucket, receipt: Receipt) -> None:
    """Copy the object of a receipt to the quarantine and write its reason; the original stays."""
    bucket.copy(receipt.key, _place(receipt), receipt.version)
    reason = {"reason": receipt.detail.partition(": ")[0], "receipt": json.loads(receipt.to_json())}
    text = json.dumps(reason, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    bucket.put(f"{FOLDER}/{receipt.id}/{REASON}", text.encode())


def read(bucket: Bucket) -> list[Quarantined]:
    """All files in quarantine, sorted by id."""
    found = []
    for stored in bucket.objects(f"{FOLDER}/"):
        if stored.key.endswith(f"/{REASON}") and (answer := bucket.read(stored.key)) is not None:
            place = bucket.url(stored.key)
            try:
                text = json.dumps(json.loads(answer[0])["receipt"])
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{place}: not written by this inbox ({error}); move it away") from error
            receipt = parse(text, place)
            found.append(Quarantined(receipt, _place(receipt)))
    return found


def release(bucket: Bucket, key: str) -> Quarantined:
    """Put a quarantined file back under the key of its upload, where the next poll finds it.

    key: the key of its upload, or its id. Raises InputError where the quarantine has no such file, or several
    of that key, or where there is a new file under the key.
    """
    entries = [entry for entry in read(bucket) if key in (entry.receipt.key, entry.receipt.id)]
    if len(entries) != 1:
        ids = (
            f"; of {key} it has {', '.join(entry.receipt.id for entry in entries)}: give one"
            if entries
            else ""
        )
        raise InputError(f"the quarantine has no single file {key!r}{ids}; `hpt inbox list` shows them")
    [entry] = entries
    if bucket.head(entry.receipt.key) is not None:
        raise InputError(f"{bucket.url(entry.receipt.key)} is there again; delete one of the two files")
    if bucket.head(entry.key) is None:
        raise InputError(f"{bucket.url(entry.key)} is not there any more; upload the file again")
    # An object that is as large, as old and of the same content counts as the one that was quarantined.
    time.sleep(1.1)
    bucket.copy(entry.key, entry.receipt.key)
    # First the file, so that a kill in between leaves the reason, by which this is found again.
    bucket.delete(entry.key)
    bucket.delete(f"{FOLDER}/{entry.receipt.id}/{REASON}")
    return entry


def _place(receipt: Receipt) -> str:
    name = "".join(
        letter if letter.isalnum() or letter in "._-" else "_" for letter in receipt.key.split("/")[-1]
    )
    name = name[-_LONGEST:].lstrip(".") or "file"
    return f"{FOLDER}/{receipt.id}/{'_' if name == REASON else ''}{name}"
