"""What people do with an inbox: put a file into it, and see what became of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hpt_core.errors import InputError
from pipelines import paths
from pipelines.inbox import quarantine
from pipelines.inbox.arrival import Inbox, identify
from pipelines.inbox.claims import FOLDER as CLAIMS
from pipelines.inbox.destination import folder_for
from pipelines.inbox.download import hash_file
from pipelines.inbox.file_check import check
from pipelines.inbox.receipts import Receipt
from pipelines.inbox.refused import Refused, Waits


@dataclass(frozen=True)
class Entry:
    """A file of the inbox."""

    key: str
    size: int | None
    """Bytes; None while it is being uploaded."""
    uploaded: str
    """In ISO 8601."""
    state: str


def entries(inbox: Inbox) -> list[Entry]:
    """All files of the inbox with what became of them, in the order of their upload."""
    claimed = {stored.key for stored in inbox.bucket.objects(f"{CLAIMS}/")}
    found = [
        Entry(
            each.receipt.key,
            each.receipt.size,
            each.receipt.modified,
            f"in quarantine: {each.receipt.detail}",
        )
        for each in quarantine.read(inbox.bucket)
    ]
    for stored in inbox.bucket.objects():
        if stored.key.partition("/")[0] not in paths.INBOX_FOLDERS and not stored.key.endswith("/"):
            id = identify(stored)
            state = _state(inbox.receipts.by_id.get(id), f"{CLAIMS}/{id}.json" in claimed)
            found.append(Entry(stored.key, stored.size, stored.modified.isoformat(), state))
    found += [
        Entry(key, None, begun.isoformat(), "being uploaded") for key, begun in inbox.bucket.unfinished()
    ]
    return sorted(found, key=lambda entry: (entry.uploaded, entry.key))


def _state(receipt: Receipt | None, claimed: bool) -> str:
    if receipt is None:
        return "new, claimed" if claimed else "new"
    if receipt.outcome == "duplicate":
        return f"duplicate of {receipt.detail}"
    unusable = sum(receipt.unusable.values())
    rows = f"{receipt.rows} rows" + (f", {unusable} unusable" if unusable else "")
    return f"taken, {rows}" if receipt.outcome == "taken" else receipt.outcome


def put(inbox: Inbox, file: Path, source: str, name: str | None, *, replace: bool) -> str:
    """Upload a file for a source, after the checks that it will have to pass; a sentence on what was done.

    name: below SOURCE/ in the inbox; by default that of the file. replace: over another file of this name.

    Raises InputError for a file that cannot be used, or where there is another one of this name.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    name = name or file.name
    try:
        folder = folder_for(source, inbox.params, inbox.root)
        folder.file(name, inbox.root)
        counted = check(folder.source, file)
    except (Refused, Waits) as error:
        raise InputError(f"{file}: {error}") from error
    if file.stat().st_size > inbox.config.max_gib * 2**30:
        raise InputError(f"{file}: {file.stat().st_size:,} bytes; inbox.max_gib is {inbox.config.max_gib:g}")
    key, sha256 = f"{source}/{name}", hash_file(file).sha256
    rows = f"{counted.rows} rows, {sum(counted.unusable.values())} unusable"
    if inbox.bucket.upload(file, key, sha256, replace=replace):
        return f"{inbox.bucket.url(key)}: uploaded, {rows}; next: hpt inbox poll"
    details = inbox.bucket.head(key)
    if details is not None and details.sha256 == sha256:
        return f"{inbox.bucket.url(key)}: is there already, with this content"
    raise InputError(
        f"{inbox.bucket.url(key)} is there already, with other content; give another name with --as, or "
        "--replace it"
    )
