"""The part of a bucket below a prefix: listing, conditional writes, and large objects in both directions.

Address and credentials come from the environment: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_PROFILE and the others of AWS.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from pipelines.inbox.s3_errors import GONE, UNMET, code, endpoint, s3_errors

PART = 32 * 2**20
"""Bytes of a part of a large object; S3 takes 10,000 parts."""
THREADS = 4
_TRANSFER = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=THREADS)


@dataclass(frozen=True)
class Stored:
    """An object as a listing shows it."""

    key: str
    """Below the prefix."""
    etag: str
    size: int
    """Bytes."""
    modified: datetime
    """By the server's clock."""


@dataclass(frozen=True)
class Details:
    """What the server says of one object."""

    etag: str
    size: int
    modified: datetime
    version: str | None
    """Id of this version, where the bucket keeps versions."""
    sha256: str | None
    """What the uploader says that the content hashes to (metadata `sha256`), in lower case."""
    checksum: str | None
    """The server's own SHA-256 of the whole content in base64, where it has one."""
    encrypted: bool
    """With keys of a key service, so that the etag is no MD5 of the content."""


class Bucket:
    """The objects below `url`, s3://BUCKET/PREFIX. Keys are relative to the prefix.

    Methods raise InputError or InboxError (`s3_errors`).
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.name, self.prefix = parts.netloc, parts.path.strip("/") + "/" if parts.path.strip("/") else ""
        self.now: datetime | None = None
        """The server's time at its last answer, by which the ages of objects count; clocks may differ."""
        defaults = {
            f"{key}_checksum_{what}": "when_required"
            # Other S3 servers may refuse the checksums that boto3 adds by default.
            for key, what in (("request", "calculation"), ("response", "validation"))
            if f"AWS_{key}_checksum_{what}".upper() not in os.environ
        }
        style: Any = {"addressing_style": "path"} if endpoint() else {}
        config = Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": 4},
            s3=style,
            **defaults,
        )
        with s3_errors(self.name):
            # A region is a part of each signature; other servers take any.
            session = boto3.session.Session()
            self._s3: Any = session.client(
                "s3", region_name=session.region_name or "us-east-1", config=config
            )
            self._s3.meta.events.register("after-call.s3", self._note_time)

    def _note_time(self, http_response: Any = None, **_: Any) -> None:
        if date := getattr(http_response, "headers", {}).get("Date"):
            self.now = parsedate_to_datetime(date)

    def url(self, key: str) -> str:
        return f"s3://{self.name}/{self.prefix}{key}"

    def objects(self, prefix: str = "") -> Iterator[Stored]:
        """All objects whose keys begin with `prefix`, in the order of their keys."""
        with s3_errors(self.name):
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=self.prefix + prefix
            )
            for page in pages:
                for found in page.get("Contents", []):
                    key = found["Key"].removeprefix(self.prefix)
                    yield Stored(key, found["ETag"].strip('"'), found["Size"], found["LastModified"])

    def unfinished(self) -> list[tuple[str, datetime]]:
        """Keys of multipart uploads that were begun and not completed, with when."""
        with s3_errors(self.name):
            found = self._s3.list_multipart_uploads(Bucket=self.name, Prefix=self.prefix).get("Uploads", [])
        return [(each["Key"].removeprefix(self.prefix), each["Initiated"]) for each in found]

    def head(self, key: str) -> Details | None:
        """Details of an object; None where there is none."""
        answer = self._unless(GONE, self._s3.head_object, Key=self.prefix + key, ChecksumMode="ENABLED")
        if answer is None:
            return None
        whole = answer.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        sha256 = {name.lower(): value for name, value in answer["Metadata"].items()}.get("sha256")
        version = answer.get("VersionId")
        return Details(
            etag=answer["ETag"].strip('"'),
            size=answer["ContentLength"],
            modified=answer["LastModified"],
            version=None if version in (None, "null") else version,
            sha256=sha256.strip().lower() if sha256 else None,
            checksum=answer.get("ChecksumSHA256")
            if whole and "-" not in answer.get("ChecksumSHA256", "")
            else None,
            encrypted="aws:kms" in answer.get("ServerSideEncryption", "") or "SSECustomerAlgorithm" in answer,
        )

    def part_sizes(self, key: str, version: str | None) -> list[int] | None:
        """Bytes of each part of an object that was uploaded in parts; None where the server does not say."""

        def part(number: int) -> Mapping[str, Any] | None:
            call = {"Key": self.prefix + key, "PartNumber": number, **_version(version)}
            answer: Mapping[str, Any] | None = self._unless(
                (*GONE, "400", "416", "501"), self._s3.head_object, **call
            )
            return answer

        first = part(1)
        if first is None or not (count := first.get("PartsCount")):
            return None
        answers = [first, *(part(number) for number in range(2, count + 1))]
        return (
            None if None in answers else [answer["ContentLength"] for answer in answers if answer is not None]
        )

    def read(self, key: str) -> tuple[bytes, str, datetime] | None:
        """Content, etag and time of a small object; None where there is none."""
        answer = self._unless(GONE, self._s3.get_object, Key=self.prefix + key)
        if answer is None:
            return None
        with s3_errors(self.name):
            return answer["Body"].read(), answer["ETag"], answer["LastModified"]

    def put_new(self, key: str, body: bytes) -> str | None:
        """Write a small object that must not exist yet; its etag, or None where it does exist."""
        return self._put(key, body, IfNoneMatch="*")

    def put_over(self, key: str, body: bytes, etag: str) -> str | None:
        """Write over the small object that has `etag`; the new etag, or None where it changed meanwhile."""
        return self._put(key, body, IfMatch=etag)

    def _put(self, key: str, body: bytes, **condition: str) -> str | None:
        call = {"Key": self.prefix + key, "Body": body, "ContentType": "application/json", **condition}
        answer = self._unless((*UNMET, *GONE), self._s3.put_object, **call)
        return answer["ETag"] if answer else None

    def put(self, key: str, body: bytes) -> None:
        """Write a small object, whether or not it exists."""
        self._unless(
            (), self._s3.put_object, Key=self.prefix + key, Body=body, ContentType="application/json"
        )

    def delete(self, key: str, etag: str | None = None, version: str | None = None) -> None:
        """Delete an object if it still has `etag`; of a bucket with versions, that version of it."""
        condition = _version(version) or ({"IfMatch": f'"{etag}"'} if etag else {})
        self._unless((*GONE, *UNMET), self._s3.delete_object, Key=self.prefix + key, **condition)

    def copy(self, key: str, to: str, version: str | None = None) -> None:
        """Copy an object within the bucket, on the server, of any size."""
        source = {"Bucket": self.name, "Key": self.prefix + key, **_version(version)}
        with s3_errors(self.name):
            self._s3.copy(source, self.name, self.prefix + to, Config=_TRANSFER)

    def download(self, key: str, path: Path, version: str | None = None) -> bool:
        """Write an object to `path`, parts side by side; False where it is gone."""
        with s3_errors(self.name):
            try:
                extra = _version(version)
                self._s3.download_file(
                    self.name, self.prefix + key, str(path), ExtraArgs=extra, Config=_TRANSFER
                )
            except ClientError as error:
                if code(error) in (*GONE, *UNMET):
                    return False
                raise
        return True

    def upload(self, path: Path, key: str, sha256: str, *, replace: bool) -> bool:
        """Write the file at `path` in parts, with its hash as metadata; False where the object exists.

        It appears at once and whole, when the last part is there. replace: write over an existing object.
        """
        metadata, condition = {"sha256": sha256}, {} if replace else {"IfNoneMatch": "*"}
        call: dict[str, Any] = {"Bucket": self.name, "Key": self.prefix + key}
        with s3_errors(self.name):
            upload = self._s3.create_multipart_upload(**call, Metadata=metadata)["UploadId"]
            try:
                count = max(1, -(-path.stat().st_size // PART))

                def send(index: int) -> dict[str, Any]:
                    with path.open("rb") as file:
                        file.seek(index * PART)
                        part = {**call, "UploadId": upload, "PartNumber": index + 1}
                        etag = self._s3.upload_part(**part, Body=file.read(PART))["ETag"]
                        return {"PartNumber": index + 1, "ETag": etag}

                with ThreadPoolExecutor(THREADS) as pool:
                    parts = {"Parts": list(pool.map(send, range(count)))}
                self._s3.complete_multipart_upload(
                    **call, UploadId=upload, MultipartUpload=parts, **condition
                )
            except BaseException as error:
                self._s3.abort_multipart_upload(**call, UploadId=upload)
                if isinstance(error, ClientError) and code(error) in UNMET:
                    return False
                raise
        return True

    def _unless(self, expected: tuple[str, ...], call: Any, **arguments: Any) -> Any:
        """What `call` answers; None where it fails with one of the `expected` codes."""
        with s3_errors(self.name):
            try:
                return call(Bucket=self.name, **arguments)
            except ClientError as error:
                if code(error) in expected:
                    return None
                raise


def _version(version: str | None) -> dict[str, str]:
    return {} if version is None else {"VersionId": version}
