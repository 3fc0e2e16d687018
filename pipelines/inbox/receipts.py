"""Receipts: what became of each version of each object, written once and never changed.

A receipt is the moment at which a file counts as taken: a conditional put creates it, so that of two polls
one wins.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

from hpt_core.errors import InputError
from hpt_core.files import write_text
from pipelines.inbox.bucket import Bucket, Details

FOLDER = "receipts"
Result = Literal["taken", "duplicate", "quarantined"]


@dataclass(frozen=True)
class Receipt:
    """What became of one version of an object."""

    id: str
    """Hash of key, etag, size, time and version of the object; the name of the receipt."""
    key: str
    """Below `inbox.url`."""
    etag: str
    size: int
    modified: str
    """When it was uploaded, by the server's clock, in ISO 8601."""
    version: str | None
    outcome: Result
    source: str
    sha256: str | None
    """Of the content; None where it was refused before it was downloaded."""
    owner: str
    """The checkout that took it, as its claims name it."""
    when: str
    """When it was taken, by the server's clock, in ISO 8601."""
    path: str | None = None
    """Where it is in the checkout, relative to it."""
    rows: int = 0
    unusable: dict[str, int] = field(default_factory=dict)
    """Reason -> rows that the reader rejects."""
    checked: list[str] = field(default_factory=list)
    """What the content was compared with: sha256, checksum, etag, size."""
    detail: str = ""
    """The reason, or the key that has the same content."""

    @property
    def name(self) -> str:
        """Key of the receipt."""
        return f"{FOLDER}/{self.id}.json"

    def to_json(self) -> bytes:
        return (json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def parse(text: bytes | str, place: str) -> Receipt:
    """The receipt that `text` from `place` holds. Raises InputError."""
    try:
        values = json.loads(text)
        return Receipt(**{each.name: values[each.name] for each in fields(Receipt) if each.name in values})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{place}: no receipt of this inbox ({error}); move it away") from error


@dataclass
class Receipts:
    """All receipts of an inbox. They never change, so `cache` keeps each that was read from the server."""

    bucket: Bucket
    cache: Path
    by_id: dict[str, Receipt] = field(default_factory=dict)

    def read(self) -> Receipts:
        """Read those that are new."""
        names = [found.key for found in self.bucket.objects(f"{FOLDER}/") if found.key.endswith(".json")]
        with ThreadPoolExecutor(8) as pool:
            for receipt in pool.map(self._read, names):
                self.by_id[receipt.id] = receipt
        return self

    def _read(self, name: str) -> Receipt:
        cached = self.cache / Path(name).name
        if cached.is_file():
            try:
                return parse(cached.read_bytes(), str(cached))
            except InputError:
                cached.unlink()  # It is a copy, and the server has the original.
        found = self.bucket.read(name)
        if found is None:
            raise InputError(f"{self.bucket.url(name)}: removed while it was read; poll again")
        receipt = parse(found[0], self.bucket.url(name))
        write_text(cached, found[0].decode())
        return receipt

    def write(self, receipt: Receipt) -> Receipt:
        """Write a receipt; returns the one that counts, which may be of a poll that was first."""
        if self.bucket.put_new(receipt.name, receipt.to_json()) is None:
            receipt = self._read(receipt.name)
        self.by_id[receipt.id] = receipt
        return receipt

    def same_content(self, sha256: str, but: str) -> Receipt | None:
        """The receipt of a file with this content that was taken and not replaced under its key since.

        but: id of the receipt that does not count.
        """
        current: dict[str, Receipt] = {}
        for receipt in self._taken():
            if receipt.id != but and receipt.modified >= getattr(current.get(receipt.key), "modified", ""):
                current[receipt.key] = receipt
        return next((receipt for receipt in current.values() if receipt.sha256 == sha256), None)

    def came_from(self, key: str, sha256: str) -> bool:
        """Whether a version of `key` with this content was taken."""
        return any(receipt.key == key and receipt.sha256 == sha256 for receipt in self._taken())

    def _taken(self) -> Iterable[Receipt]:
        return (receipt for receipt in self.by_id.values() if receipt.outcome == "taken")


def receipt_of(
    key: str, id: str, details: Details, source: str, owner: str, when: str, outcome: Result
) -> Receipt:
    """A receipt of the object with these details, to be completed with `dataclasses.replace`."""
    return Receipt(
        id=id,
        key=key,
        etag=details.etag,
        size=details.size,
        modified=details.modified.isoformat(),
        version=details.version,
        outcome=outcome,
        source=source,
        sha256=None,
        owner=owner,
        when=when,
    )
