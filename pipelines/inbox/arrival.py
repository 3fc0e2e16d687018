"""One version of one object of the inbox, on its way into the checkout, by steps that a kill may interrupt.

    claim      claims/ID.json                       only this poll works on it
    download   checkpoints/inbox/ID/NAME            with its checksums compared
    check      read whole, as the stage experts will
    intend     checkpoints/inbox/ID/receipt.json    what is about to happen
    place      the folder of its source             one rename
    receipt    receipts/ID.json                     from here on it counts as taken
    clean up   the working folder, the claim

A kill before `intend` leaves an object without a receipt, which the next poll takes from the beginning. A
kill after it is made good by the next poll of this checkout, which goes on from `intend`. Should another poll
have written the receipt meanwhile, this checkout takes its file back out.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hpt_core.files import replacing, write_text
from pipelines.inbox import quarantine
from pipelines.inbox.bucket import Bucket, Details, Stored
from pipelines.inbox.claims import CONTENT, Claims
from pipelines.inbox.destination import folder_for
from pipelines.inbox.download import fetch, hash_file
from pipelines.inbox.file_check import check, check_neighbours
from pipelines.inbox.receipts import Receipt, Receipts, Result, parse, receipt_of
from pipelines.inbox.refused import Refused, Waits
from pipelines.params import Params
from pipelines.params.sections import InboxConfig

INTENT = "receipt.json"
Step = Callable[[str, str], None]
"""Called after each step with its name and the key; tests end the process there."""


@dataclass(frozen=True)
class Inbox:
    """What every arrival needs."""

    root: Path
    work: Path
    """Folder of unfinished work; a folder per arrival."""
    params: Params
    config: InboxConfig
    bucket: Bucket
    claims: Claims
    receipts: Receipts
    step: Step

    @property
    def when(self) -> str:
        assert self.bucket.now is not None, "the server's answers have no date"
        return self.bucket.now.isoformat()


def identify(stored: Stored) -> str:
    """The id of this version of an object: the same at each listing, another one after each upload."""
    parts = (stored.key, stored.etag, str(stored.size), stored.modified.isoformat())
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def receive(inbox: Inbox, stored: Stored) -> Receipt | None:
    """Take an object, or put it into quarantine; None where another poll did so since this one began.

    Raises Waits where it stays for now.
    """
    id = identify(stored)
    with inbox.claims.hold(id) as other:
        if other is not None:
            raise Waits(f"{other} has claimed it")
        inbox.step("claim", stored.key)
        # Another poll may have finished with it, and given its claim back, since the receipts were read.
        if id in inbox.receipts.read().by_id:
            return None
        details = inbox.bucket.head(stored.key)
        if details is None or (details.etag, details.size) != (stored.etag, stored.size):
            raise Waits("it was removed or replaced an instant ago")
        try:
            receipt = _take(inbox, stored.key, id, details)
        except Refused as refused:
            assert inbox.bucket.now is not None
            age = (inbox.bucket.now - details.modified).total_seconds()
            if refused.may_pass and age < inbox.config.settle_s:
                raise Waits(f"{refused}; left alone until it is {inbox.config.settle_s:g} s old") from None
            receipt = _quarantine(inbox, stored.key, id, details, refused)
    return receipt


def finish(inbox: Inbox, receipt: Receipt) -> None:
    """Do what a kill after the receipt left undone."""
    if receipt.outcome == "quarantined":
        inbox.bucket.delete(receipt.key, receipt.etag, receipt.version)
    shutil.rmtree(inbox.work / receipt.id, ignore_errors=True)


def resume(inbox: Inbox) -> list[Receipt]:
    """Go on with the arrivals that a kill interrupted after `intend`; returns their receipts."""
    done = []
    for intent in sorted(inbox.work.glob(f"*/{INTENT}")):
        done.append(_commit(inbox, parse(intent.read_bytes(), str(intent))))
    return done


def _take(inbox: Inbox, key: str, id: str, details: Details) -> Receipt:
    source, _, name = key.partition("/")
    folder = folder_for(source, inbox.params, inbox.root)
    path = folder.file(name, inbox.root)
    if details.size > inbox.config.max_gib * 2**30:
        raise Refused("too_large", f"{details.size:,} bytes; inbox.max_gib is {inbox.config.max_gib:g}")
    _check_place(inbox, key, path)
    staged = inbox.work / id / path.name
    shutil.rmtree(staged.parent, ignore_errors=True)
    staged.parent.mkdir(parents=True)
    content, checked = fetch(inbox.bucket, key, details, staged)
    inbox.step("download", key)
    taken = replace(
        _receipt(inbox, key, id, details, source, "taken"), sha256=content.sha256, checked=checked
    )
    with inbox.claims.hold(f"{CONTENT}{content.sha256}") as other:
        if other is not None:
            raise Waits(f"{other} is taking a file with the same content")
        if (same := inbox.receipts.read().same_content(content.sha256, id)) is not None:
            return _commit(inbox, replace(taken, outcome="duplicate", detail=same.key))
        counted = check(folder.source, staged)
        check_neighbours(folder, path, inbox.root)
        inbox.step("check", key)
        taken = replace(taken, path=str(path), rows=counted.rows, unusable=counted.unusable)
        write_text(inbox.work / id / INTENT, taken.to_json().decode())
        inbox.step("intend", key)
        return _commit(inbox, taken)


def _commit(inbox: Inbox, intended: Receipt) -> Receipt:
    """Place the file of a receipt, unless another one has its content by now, and write the receipt."""
    if intended.outcome == "taken":
        same = inbox.receipts.same_content(intended.sha256 or "", intended.id)
        known = inbox.receipts.by_id.get(intended.id)
        if same is not None and known is None:
            intended = replace(intended, outcome="duplicate", detail=same.key, path=None)
        elif known is None or known == intended:
            _place(inbox, intended)
            inbox.step("place", intended.key)
    receipt = inbox.receipts.write(intended)
    inbox.step("receipt", intended.key)
    if receipt != intended:
        _take_back(inbox, intended)
    shutil.rmtree(inbox.work / intended.id, ignore_errors=True)
    inbox.step("clean up", intended.key)
    return receipt


def _place(inbox: Inbox, receipt: Receipt) -> None:
    """Move the downloaded file to its place, in one rename; nothing where it is there already."""
    assert receipt.path is not None
    target = inbox.root / receipt.path
    staged = inbox.work / receipt.id / target.name
    if not staged.is_file():
        return
    mark_unversioned(inbox.work, receipt.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(staged, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with replacing(target) as copy:
            shutil.copyfile(staged, copy)
        staged.unlink()


def _take_back(inbox: Inbox, intended: Receipt) -> None:
    """Remove the file of a receipt that another poll was first to write."""
    path = inbox.root / intended.path if intended.path else None
    if path is not None and path.is_file() and hash_file(path).sha256 == intended.sha256:
        path.unlink()


def _check_place(inbox: Inbox, key: str, path: Path) -> None:
    """Raise where something stands at `path` that did not come from the inbox under this key."""
    target = inbox.root / path
    for folder in path.parents:
        if (inbox.root / folder).exists() and not (inbox.root / folder).is_dir():
            raise Refused("bad_name", f"{folder} is a file in the checkout; upload it under another name")
    if target.is_dir():
        raise Refused("bad_name", f"{path} is a folder in the checkout; upload it under another name")
    if target.exists() and not inbox.receipts.came_from(key, hash_file(target).sha256):
        raise Waits(f"{path} is there already and did not come from the inbox; rename or remove it")


def _quarantine(inbox: Inbox, key: str, id: str, details: Details, refused: Refused) -> Receipt:
    receipt = _receipt(inbox, key, id, details, key.partition("/")[0], "quarantined")
    receipt = replace(receipt, detail=str(refused))
    quarantine.put(inbox.bucket, receipt)
    inbox.step("quarantine", key)
    receipt = inbox.receipts.write(receipt)
    inbox.step("receipt", key)
    finish(inbox, receipt)
    inbox.step("clean up", key)
    return receipt


def _receipt(inbox: Inbox, key: str, id: str, details: Details, source: str, outcome: Result) -> Receipt:
    return receipt_of(key, id, details, source, inbox.claims.owner, inbox.when, outcome)


UNVERSIONED = "unversioned.json"


def mark_unversioned(work: Path, path: str) -> None:
    """Note a file that DVC does not have yet, so that a kill before `dvc add` is made good."""
    write_text(work / UNVERSIONED, json.dumps(sorted({*unversioned(work), path})))


def unversioned(work: Path) -> list[str]:
    """Paths of files that were placed, and that `dvc add` has not seen since."""
    note = work / UNVERSIONED
    return [str(path) for path in json.loads(note.read_text())] if note.is_file() else []
