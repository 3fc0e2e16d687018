"""Errors of S3 in one line, with the remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from hpt_core.errors import InputError, one_line

GONE = ("404", "NoSuchKey", "NotFound", "NoSuchVersion")
UNMET = ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")
"""Codes of a conditional request whose condition does not hold, or that another one overtook."""
_REFUSED = (
    "401",
    "403",
    "AccessDenied",
    "Forbidden",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
)
_SKEWED = ("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture")


class InboxError(RuntimeError):
    """The S3 server does not answer or fails; nothing is lost, and the next poll goes on."""


@contextmanager
def s3_errors(bucket: str) -> Iterator[None]:
    """Turn errors of boto3 into InputError, where the user can correct the cause, or InboxError."""
    server = endpoint() or "AWS"
    try:
        yield
    except InputError:
        raise
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise InputError(
            f"no credentials for S3 ({error}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
        ) from error
    except ClientError as error:
        raise _of_code(code(error), error, bucket, server) from error
    except (EndpointConnectionError, HTTPClientError) as error:
        reason = type(error).__name__
        raise InboxError(
            f"S3 at {server} does not answer ({reason}); start it or correct AWS_ENDPOINT_URL, and try again"
        ) from error
    except (BotoCoreError, ValueError) as error:
        raise InputError(
            f"S3 at {server}: {one_line(error)}; correct the AWS_* variables, or inbox.url in params.yaml"
        ) from error


def code(error: ClientError) -> str:
    """The code of an error that the server sent, such as NoSuchKey; the HTTP status where it sent no text."""
    return str(error.response.get("Error", {}).get("Code", ""))


def endpoint() -> str | None:
    """The server that the environment names, without a user's name and password; None for AWS."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return None
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _of_code(code: str, error: ClientError, bucket: str, server: str) -> Exception:
    if code == "NoSuchBucket":
        return InputError(
            f"there is no bucket {bucket!r} at {server}; create it, or correct inbox.url in params.yaml"
        )
    if code in _SKEWED:
        return InputError(
            f"S3 at {server} refuses the time of this machine ({code}): its clock is wrong by more than the "
            "server allows; set the clock"
        )
    if code in _REFUSED:
        return InputError(
            f"S3 at {server} refuses the credentials for bucket {bucket!r} ({code}); correct "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, or the rights of their user"
        )
    message = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())[:200]
    return InboxError(f"S3 at {server} failed: {code}: {message}; try again")
