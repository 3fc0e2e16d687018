"""An object as a file on this machine, compared with what the server and the uploader say of it."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from pipelines.inbox.bucket import Bucket, Details
from pipelines.inbox.refused import Refused, Waits

_BLOCK = 2**22
RESERVE = 2**30
"""Bytes that stay free on the disk."""


@dataclass(frozen=True)
class Content:
    """The hashes of a file."""

    sha256: str
    md5: str
    of_parts: str | None
    """The etag of an object that was uploaded in such parts: the MD5 of their MD5s, and their number."""


def fetch(bucket: Bucket, key: str, details: Details, path: Path) -> tuple[Content, list[str]]:
    """Download the object to `path`; its hashes, and the names of those that were compared.

    Raises Refused where the content is not what the uploader hashed, Waits where the object changed meanwhile
    or the disk has no room.
    """
    free = shutil.disk_usage(path.parent).free
    if free < details.size + RESERVE:
        raise Waits(f"{details.size:,} bytes, and the disk has {free:,} free (1 GiB stays free); make room")
    if not bucket.download(key, path, details.version):
        raise Waits("it was removed or replaced while it was downloaded")
    parts = bucket.part_sizes(key, details.version) if "-" in details.etag and not details.encrypted else None
    content = hash_file(path, parts)
    now = bucket.head(key)
    if now is None or (now.etag, now.size, now.modified) != (details.etag, details.size, details.modified):
        raise Waits("it was removed or replaced while it was downloaded")
    return content, compare(path.stat().st_size, content, details)


def compare(size: int, content: Content, details: Details) -> list[str]:
    """The names of the checksums that agree with the content. Raises Refused or Waits where one does not."""
    if size != details.size:
        raise Waits(f"{size:,} bytes arrived of {details.size:,}")
    checked = ["size"]
    if "-" not in details.etag and not details.encrypted:
        if content.md5 != details.etag:
            raise Waits(f"its MD5 is {content.md5} and its etag {details.etag}; it is downloaded again")
        checked.append("etag")
    elif content.of_parts is not None:
        if content.of_parts != details.etag:
            raise Waits(
                f"its parts hash to {content.of_parts} and its etag is {details.etag}; it is downloaded again"
            )
        checked.append("etag")
    if details.checksum is not None:
        if base64.b64encode(bytes.fromhex(content.sha256)).decode() != details.checksum:
            raise Waits("its SHA-256 is not the server's checksum; it is downloaded again")
        checked.append("checksum")
    if details.sha256 is not None:
        if content.sha256 != details.sha256:
            raise Refused(
                "checksum",
                f"its metadata says sha256 {details.sha256[:80]}, and the content has {content.sha256}; "
                "upload it again",
            )
        checked.append("sha256")
    return checked


def hash_file(path: Path, parts: Sequence[int] | None = None) -> Content:
    """The hashes of the file at `path`, and of its parts with these sizes in bytes."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    ends = list(accumulate(parts or []))
    of_parts: list[bytes] = []
    current, position = hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while True:
            to_end = ends[len(of_parts)] - position if len(of_parts) < len(ends) else _BLOCK
            block = file.read(min(_BLOCK, to_end))
            if not block:
                break
            for digest in (sha256, md5, current):
                digest.update(block)
            position += len(block)
            if len(of_parts) < len(ends) and position == ends[len(of_parts)]:
                of_parts.append(current.digest())
                current = hashlib.md5(usedforsecurity=False)
    whole = bool(ends) and len(of_parts) == len(ends)
    etag = hashlib.md5(b"".join(of_parts), usedforsecurity=False).hexdigest()
    return Content(sha256.hexdigest(), md5.hexdigest(), f"{etag}-{len(ends)}" if whole else None)
