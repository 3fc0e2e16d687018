"""Claims: of several polls, in this checkout or elsewhere, one takes an object.

A claim is a small object that a conditional put creates (If-None-Match: *), so that only one poll succeeds.
Its owner writes it anew every quarter of `inbox.claim_s`. One that is older than `inbox.claim_s`, by the
server's clock, belongs to a process that died: the next poll takes it over with If-Match, which again only
one can. A checkout keeps its claims when its poll is killed, and goes on with them at its next poll at once.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import uuid
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from hpt_core.errors import InputError
from hpt_core.files import read_json, write_json
from pipelines.inbox.bucket import Bucket
from pipelines.inbox.refused import Refused, Waits
from pipelines.inbox.s3_errors import InboxError

log = logging.getLogger(__name__)

FOLDER = "claims"
CONTENT = "content-"
"""Beginning of the name of a claim on a content, whatever its key."""
REMEDY = "remove it"


def owner_of(folder: Path) -> str:
    """The name under which the checkout with the working folder `folder` claims objects, kept in that folder.

    A copy of the checkout, elsewhere or on another machine, is another owner.
    """
    path, place = folder / "owner.json", {"host": socket.gethostname(), "folder": str(folder.resolve())}
    if path.is_file():
        known = read_json(path, REMEDY)
        if {name: known.get(name) for name in place} == place:
            return str(known["owner"])
    owner = f"{place['host']}-{uuid.uuid4().hex[:12]}"
    write_json(path, {**place, "owner": owner})
    return owner


@dataclass(frozen=True)
class Claims:
    """The claims of one owner. lives_s: seconds after which a claim that is not renewed has expired."""

    bucket: Bucket
    owner: str
    lives_s: float

    def check_conditions(self) -> None:
        """Raise InputError where the server ignores the conditions of puts: nothing could be claimed."""
        key = f"{FOLDER}/conditions.json"
        self.bucket.put_new(key, b"{}")
        if self.bucket.put_new(key, b"{}") is not None:
            raise InputError(
                "this S3 server ignores If-None-Match, so that two polls would take one file; use one with "
                "conditional writes (AWS, SeaweedFS, MinIO)"
            )

    @contextmanager
    def hold(self, what: str) -> Iterator[str | None]:
        """Hold the claim on `what` in the block; yields None then, or the name of its owner, who has it.

        The claim is deleted at the end of the block, also where the object is refused or has to wait. Any
        other exception leaves it to the next poll of this checkout.
        """
        key = f"{FOLDER}/{what}.json"
        etag, other = self._take(key)
        if etag is None:
            yield other
            return
        stop = threading.Event()
        renewal = threading.Thread(target=self._renew, args=(key, etag, stop), daemon=True)
        renewal.start()
        try:
            yield None
        except (Refused, Waits):
            stop.set()
            self.release(what)
            raise
        finally:
            stop.set()
            renewal.join()
        self.release(what)

    def clean(self, finished: Container[str]) -> None:
        """Delete the claims on what is `finished`, and those of contents that a killed poll left.

        The caller is the only poll of this owner.
        """
        for stored in self.bucket.objects(f"{FOLDER}/"):
            what = stored.key.removeprefix(f"{FOLDER}/").removesuffix(".json")
            of_content = what.startswith(CONTENT)
            if what in finished or (of_content and self._expired(stored.modified)):
                self.bucket.delete(stored.key, stored.etag)
            elif of_content:
                self.release(what)

    def release(self, what: str) -> None:
        """Delete the claim on `what` where this owner has it."""
        key = f"{FOLDER}/{what}.json"
        found = self.bucket.read(key)
        if found is not None and _owner(found[0]) == self.owner:
            self.bucket.delete(key, found[1].strip('"'))

    def _take(self, key: str) -> tuple[str | None, str]:
        """The etag of the claim, or None and who has it."""
        if (etag := self.bucket.put_new(key, self._body())) is not None:
            return etag, self.owner
        found = self.bucket.read(key)
        if found is None:  # It was released an instant ago.
            return self.bucket.put_new(key, self._body()), "another poll"
        body, etag, written = found
        other = _owner(body)
        expired = self._expired(written)
        if other != self.owner and not expired:
            return None, other
        if other != self.owner:
            log.warning("the claim of %s has expired; taking over", other)
        return self.bucket.put_over(key, self._body(), etag), other

    def _expired(self, written: datetime) -> bool:
        assert self.bucket.now is not None, "the server's answers have no date"
        return self.bucket.now - written > timedelta(seconds=self.lives_s)

    def _renew(self, key: str, etag: str, stop: threading.Event) -> None:
        held: str | None = etag
        while held is not None and not stop.wait(self.lives_s / 4):
            try:
                held = self.bucket.put_over(key, self._body(), held)
            except (InboxError, InputError) as error:
                log.warning("the claim could not be renewed: %s", error)

    def _body(self) -> bytes:
        # The nonce gives each writing an etag of its own.
        text = {"owner": self.owner, "pid": os.getpid(), "nonce": uuid.uuid4().hex}
        return json.dumps(text).encode()


def _owner(body: bytes) -> str:
    try:
        return str(json.loads(body)["owner"])
    except (ValueError, KeyError, TypeError):
        return "an unknown owner"
