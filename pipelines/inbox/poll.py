"""A poll: take what is new in the inbox."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpt_core.errors import InputError
from pipelines import paths
from pipelines.inbox import arrival, versioning
from pipelines.inbox.arrival import Inbox, Step
from pipelines.inbox.bucket import Bucket
from pipelines.inbox.claims import Claims, owner_of
from pipelines.inbox.receipts import Receipt, Receipts
from pipelines.inbox.refused import Waits
from pipelines.inbox.s3_errors import InboxError
from pipelines.params import Params, load_params
from pipelines.params.sections import InboxConfig

log = logging.getLogger(__name__)
WORK = paths.checkpoints("inbox@poll")


@dataclass
class Received:
    """What a poll did."""

    receipts: list[Receipt] = field(default_factory=list)
    """Of this poll: files that were taken, are duplicates, or went to quarantine."""
    waiting: dict[str, str] = field(default_factory=dict)
    """Key of a file that stays in the inbox -> why."""
    versioned: list[str] = field(default_factory=list)
    """The .dvc files to commit, so that others get the files that were taken."""

    @property
    def taken(self) -> Mapping[str, int]:
        """Source -> files that were taken for it, for those with any."""
        return Counter(receipt.source for receipt in self.receipts if receipt.outcome == "taken")

    def __str__(self) -> str:
        counts = Counter(receipt.outcome for receipt in self.receipts)
        parts = [f"{count} {outcome}" for outcome, count in sorted(counts.items())]
        parts += [f"{len(self.waiting)} waiting"] if self.waiting else []
        return ", ".join(parts) or "nothing new"


def poll(root: Path, step: Step = lambda name, key: None) -> Received:
    """Take the new files of the inbox of the project under `root`; one that fails never stops the others.

    The caller holds the checkout's run lock, since a file that arrives while a stage reads would be recorded
    as read. Raises InputError without an inbox, InboxError where S3 fails.
    """
    inbox = open_inbox(root, step)
    received = Received()
    try:
        if intents := arrival.resume(inbox):
            received.receipts += intents
        _receive_all(inbox, received)
    except OSError as error:
        raise InboxError(
            f"{error.filename or inbox.work}: {error.strerror}; make room, or correct the rights, and poll "
            "again"
        ) from error
    finally:
        # What was taken before an error belongs to the project all the same.
        received.versioned = versioning.add(root, inbox.work)
    return received


def open_inbox(root: Path, step: Step = lambda name, key: None) -> Inbox:
    """The inbox of the project under `root`, with all its receipts. Raises InputError without one."""
    params, config = settings(root)
    bucket, work = Bucket(config.url), root / WORK
    claims = Claims(bucket, owner_of(work), config.claim_s)
    receipts = Receipts(bucket, work / "receipts").read()
    return Inbox(root, work, params, config, bucket, claims, receipts, step)


def settings(root: Path) -> tuple[Params, InboxConfig]:
    """params.yaml and its section `inbox`. Raises InputError without one."""
    params = load_params(root / paths.PARAMS)
    if params.inbox is None:
        raise InputError("params.yaml has no inbox; add `inbox: {url: s3://BUCKET/PREFIX}`")
    return params, params.inbox


def _receive_all(inbox: Inbox, received: Received) -> None:
    inbox.claims.clean(inbox.receipts.by_id)
    checked = False
    for stored in sorted(inbox.bucket.objects(), key=lambda stored: (stored.modified, stored.key)):
        folder = stored.key.partition("/")[0]
        # Some programs write an empty object to stand for a folder.
        if folder in paths.INBOX_FOLDERS or (stored.key.endswith("/") and not stored.size):
            continue
        if (known := inbox.receipts.by_id.get(arrival.identify(stored))) is not None:
            arrival.finish(inbox, known)
            continue
        if not checked:
            inbox.claims.check_conditions()
            checked = True
        try:
            receipt = arrival.receive(inbox, stored)
        except Waits as waits:
            received.waiting[stored.key] = str(waits)
            log.info("%s: waiting: %s", stored.key, waits)
        else:
            if receipt is not None:
                received.receipts.append(receipt)
                log.info("%s: %s %s", stored.key, receipt.outcome, receipt.detail)
