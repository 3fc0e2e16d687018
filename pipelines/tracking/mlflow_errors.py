"""One exception for MLflow where it cannot be reached or fails, which says what of it is down.

MLflow has two parts that fail apart from each other: the tracking server or its database, and the store of
artifacts. Nothing here imports mlflow.
"""

from __future__ import annotations

import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES, EDQUOT, ENOSPC, EROFS
from pathlib import Path

from hpt_core.redaction import without_user
from pipelines.environment import tracking_uri
from pipelines.messages import clean

REASON_LENGTH = 300
PATIENCE = 5
"""Seconds in which a tracking server says that it is well."""
STORAGE_LIBRARIES = {"boto3", "botocore", "s3transfer"}
ARTIFACTS = re.compile(
    r"mlflow-artifacts|downloading one or more artifacts|artifact repository", re.IGNORECASE
)
DRIVERS = {
    "psycopg2": "psycopg2-binary",
    "psycopg": "psycopg[binary]",
    "MySQLdb": "mysqlclient",
    "pymysql": "pymysql",
    "pyodbc": "pyodbc",
}
"""Module of a database driver -> package that has it."""
NOT_WRITABLE = {EACCES, EDQUOT, ENOSPC, EROFS}


class TrackingError(RuntimeError):
    """MLflow failed; the message is one line with the remedy. All results are still on disk."""

    def __init__(self, message: str, reason: str, away: bool = False) -> None:
        super().__init__(clean(message))
        self.reason = clean(reason)
        """MLflow's own words."""
        self.away = away
        """Whether the tracking server does not answer at all, as while it is started again."""


@contextmanager
def tracking_errors(root: Path) -> Iterator[None]:
    """Raise TrackingError where MLflow, its database or its store of artifacts fails inside the block.

    A file that is missing on this machine is not a failure of MLflow, so other exceptions pass unchanged.
    """
    try:
        yield
    except Exception as error:
        # Importing mlflow takes seconds. A block that has not imported it cannot have failed in it.
        if "mlflow" not in sys.modules or not _is_of_mlflow(error):
            raise
        uri = tracking_uri(root)
        reason = _one_line(error)
        away = uri.startswith("http") and not answers(uri)
        raise TrackingError(_diagnosis(uri, error, reason, away), reason, away) from error


def answers(uri: str) -> bool:
    """Whether a tracking server answers at all."""
    try:
        with urllib.request.urlopen(f"{without_user(uri).rstrip('/')}/health", timeout=PATIENCE):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except (OSError, ValueError):
        return False


def _diagnosis(uri: str, error: Exception, reason: str, away: bool) -> str:
    """What is down, why, and what to do about it; away: the tracking server does not answer."""
    name, served = f"MLflow at {without_user(uri)}", uri.startswith("http")
    if isinstance(error, ModuleNotFoundError):
        package = DRIVERS[str(error.name)]
        return f"{name} needs a driver that is not installed; install it with: pip install {package}"
    if away:
        remedy = "start it, or correct MLFLOW_TRACKING_URI"
        return f"{name} cannot be reached: {_brief(error, reason)}; {remedy}"
    if _is_of_storage(error) or ARTIFACTS.search(str(error)):
        remedy = "start that store, or correct its address and credentials (MLFLOW_S3_ENDPOINT_URL, AWS_*)"
        where = " behind the server" if "mlflow-artifacts" in str(error) else ""
        return f"{name} answers, but its artifact store{where} is down: {reason}; {remedy}"
    if isinstance(error, OSError) and error.errno in NOT_WRITABLE:
        return f"{name} cannot be written: {error.strerror} ({error.filename}); make room, or allow it"
    if not served and _is_of_database(error):
        remedy = "start the database, or correct MLFLOW_TRACKING_URI"
        return f"{name} cannot be reached: {_brief(error, reason)}; {remedy}"
    if "Invalid Host header" in str(error):
        return f"{name} refuses this host name; start it with --allowed-hosts, which lists it"
    if re.search(r"\b40[13]\b", reason):
        return f"{name} refuses access: {reason}; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    return f"{name} failed: {reason}"


def _is_of_mlflow(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    # MLflow does not wrap what its database, a request for artifacts, or S3 raises.
    if isinstance(error, MlflowException | RequestException | ConnectionError | TimeoutError):
        return True
    if isinstance(error, ModuleNotFoundError):
        return error.name in DRIVERS
    if isinstance(error, OSError):
        # Reading a file of the project that nobody may read is no failure of MLflow.
        return error.errno in NOT_WRITABLE and (error.errno != EACCES or "mlartifacts" in str(error.filename))
    return _is_of_database(error) or _is_of_storage(error)


def _is_of_database(error: Exception) -> bool:
    from sqlalchemy.exc import DBAPIError, NoSuchModuleError

    return isinstance(error, DBAPIError | NoSuchModuleError)


def _is_of_storage(error: Exception) -> bool:
    """Whether a library for S3 raised it, or one of the errors behind it."""
    chain: list[BaseException] = [error]
    while (behind := chain[-1].__cause__ or chain[-1].__context__) is not None and behind not in chain:
        chain.append(behind)
    kinds = [kind for link in chain for kind in type(link).__mro__]
    return any(kind.__module__.partition(".")[0] in STORAGE_LIBRARIES for kind in kinds)


def _one_line(error: Exception) -> str:
    """MLflow's reason: the first line that is no HTML of an answer."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith("<")]
    return (useful or lines or [repr(error)])[0][:REASON_LENGTH]


def _brief(error: Exception, reason: str) -> str:
    """The usual reasons in a few words."""
    for pattern, text in {
        "refused": "connection refused",
        "timed out|timeout": "no answer in time",
        "resolve|Name or service": "its host name is unknown",
        "password authentication": "the database refuses the user or the password",
    }.items():
        if re.search(pattern, str(error), re.IGNORECASE):
            return text
    return reason
