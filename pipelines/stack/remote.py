"""DVC's default remote: the team's in the committed configuration, the running stack's on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dvc.config import Config, ConfigError
from dvc.fs import get_cloud_fs

from hpt_core.errors import InputError
from hpt_core.redaction import redacted
from pipelines.server_settings import is_loopback
from pipelines.stack.credentials import Secrets, write_private
from pipelines.stack.definition import Definition

SHARED, STACK = "shared", "stack"
"""Names of the remotes that `hpt remote` and `hpt stack up` write."""
EMBEDDED = ".remote"
"""The folder that is the remote of a new checkout."""
FILE = ".dvc/config"
LIMIT = 20
"""Seconds that a store may take to answer."""


def share(root: Path, url: str) -> list[str]:
    """Make `url` the default remote in the committed .dvc/config; return what the user should know.

    Raises InputError where the URL holds credentials, or the store cannot be reached.
    """
    _refuse_credentials(url)
    config = _config(root)
    section = {"url": _relative(root, url)}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if url.startswith("s3://") and endpoint:
        section["endpointurl"] = endpoint
    _reach(url, section)
    with config.edit("repo") as edited:
        edited["remote"][SHARED] = section
        edited["core"]["remote"] = SHARED
    notes = [f"{redacted(url)} can be reached, and is the default remote in {FILE}: commit that file"]
    if endpoint and "endpointurl" in section and is_loopback(urlsplit(endpoint).hostname or ""):
        notes.append(
            f"only this machine reaches {endpoint}; set AWS_ENDPOINT_URL to the address that all use"
        )
    with config.edit("local") as local:
        stack = local["remote"].get(STACK)
        if stack and stack.get("endpointurl") == section.get("endpointurl"):
            # The team's store is the stack of this checkout, whose keys lie here.
            local["remote"][SHARED] = {"credentialpath": stack["credentialpath"]}
        if local["core"].get("remote") == STACK:
            del local["core"]["remote"]
        elif local["core"].get("remote"):
            name = local["core"]["remote"]
            notes.append(f".dvc/config.local still names {name!r}: dvc config --local --unset core.remote")
    notes.append("copy what is here to it with: dvc push")
    return notes


def use_bucket(stack: Definition, secrets: Secrets) -> bool:
    """Make the stack's bucket the default remote of this machine, unless the user has chosen one.

    Returns whether it is. The keys are in a file of the owner's alone, not in DVC's configuration.
    """
    if not (stack.root / ".dvc").is_dir():
        return False
    keys = stack.folder / "aws-credentials"
    profile = {"aws_access_key_id": stack["HPT_USER"], "aws_secret_access_key": secrets["HPT_S3_SECRET_KEY"]}
    write_private(keys, "[default]\n" + "".join(f"{name} = {value}\n" for name, value in profile.items()))
    config = _config(stack.root)
    committed = config.load_one("repo")
    default = committed.get("remote", {}).get(committed.get("core", {}).get("remote"), {})
    section = {
        "url": f"s3://{stack['HPT_DVC_BUCKET']}",
        "endpointurl": stack.url("HPT_S3_PORT"),
        "credentialpath": str(keys),
    }
    with config.edit("local") as local:
        chosen = local["core"].get("remote")
        if "credentialpath" in local["remote"].get(SHARED, {}):
            local["remote"][SHARED]["credentialpath"] = str(keys)  # The checkout may have been moved.
        if default.get("url") != str(stack.root / EMBEDDED) or chosen not in (None, STACK):
            return False
        local["remote"][STACK] = section
        local["core"]["remote"] = STACK
    return True


def leave_bucket(root: Path) -> None:
    """Take back what `use_bucket` wrote."""
    if not (root / ".dvc" / "config.local").exists():
        return
    with _config(root).edit("local") as local:
        if local["core"].get("remote") == STACK:
            del local["core"]["remote"]
        local["remote"].pop(STACK, None)


def _config(root: Path) -> Config:
    """DVC's configuration, files of which are read without being checked, so that any can be corrected."""
    if not (root / ".dvc").is_dir():
        raise InputError("this folder has no .dvc: run the command in the project's folder")
    try:
        return Config(str(root / ".dvc"), validate=False)
    except ConfigError as error:
        raise InputError(f"{FILE}: {error}; correct the file") from error


def _refuse_credentials(url: str) -> None:
    """Raise InputError for a URL that holds a password or a key, which would be committed."""
    parts = urlsplit(url)
    if parts.password or (parts.username and parts.scheme == "s3") or redacted(url) != url:
        raise InputError(
            f"{redacted(url)}: the URL would be committed with its credentials; leave them out, and set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use dvc remote modify --local"
        )


def _relative(root: Path, url: str) -> str:
    """A folder's path as .dvc/config has it, relative to .dvc; any other URL as it is."""
    if re.match(r"[a-z0-9+]+://", url) or os.path.isabs(url):
        return url
    return os.path.relpath(root / url, root / ".dvc")


def _reach(url: str, section: dict[str, str]) -> None:
    """Raise InputError, with the store's own reason, where the store cannot be listed."""
    if url.startswith("s3://"):
        _reach_bucket(url, section.get("endpointurl"))
        return
    try:
        cloud, options, path = get_cloud_fs(None, url=url)
        cloud(**options).exists(path)
    # Each kind of store fails with errors of its own library.
    except Exception as error:
        raise InputError(f"{redacted(url)} cannot be reached: {_line(error)}; correct the URL") from error


def _reach_bucket(url: str, endpoint: str | None) -> None:
    import boto3
    from botocore.config import Config as Options
    from botocore.exceptions import BotoCoreError, ClientError

    parts = urlsplit(url)
    options: Any = Options(connect_timeout=LIMIT, read_timeout=LIMIT, retries={"total_max_attempts": 2})
    client = boto3.client("s3", endpoint_url=endpoint, config=options)
    where = f"{url} at {endpoint}" if endpoint else url
    try:
        client.list_objects_v2(Bucket=parts.netloc, Prefix=parts.path.lstrip("/"), MaxKeys=1)
    except ClientError as error:
        reason = error.response.get("Error", {}).get("Message") or _line(error)
        raise InputError(f"{where} cannot be used: {reason.rstrip('.')}; {_remedy(error)}") from error
    except (BotoCoreError, ValueError) as error:
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        if type(error).__name__ not in ("NoCredentialsError", "PartialCredentialsError"):
            remedy = "start the store, or correct the URL or AWS_ENDPOINT_URL"
        reason = _line(error).partition(': "')[0]
        raise InputError(f"{where} cannot be reached: {reason}; {remedy}") from error


def _remedy(error: Any) -> str:
    code = error.response.get("Error", {}).get("Code", "")
    return {
        "NoSuchBucket": "create the bucket",
        "AccessDenied": "have your key given the right to read and write it",
        "InvalidAccessKeyId": "correct AWS_ACCESS_KEY_ID",
        "SignatureDoesNotMatch": "correct AWS_SECRET_ACCESS_KEY",
    }.get(code, "correct the URL, or AWS_ENDPOINT_URL")


def _line(error: BaseException) -> str:
    return redacted(" ".join(str(error).split()) or type(error).__name__)[:300]
