"""Data and models to the default DVC remote, and from it: retried while the store is away, with the store's
reason in one line.

    python -m pipelines.orchestration.push

A process of its own, because a push cannot be interrupted inside of another one. DVC logs a traceback for
each file; here each distinct reason is said once.
"""

from __future__ import annotations

import logging
import random
import re
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc_data.hashfile.hash_info import HashInfo

from hpt_core.errors import one_line, storage_fault
from pipelines.orchestration import raw_files

DELAYS = (2.0, 5.0, 15.0)
"""Seconds between attempts, each up to a half longer, so that machines that lost a store do not come back
together."""
REFUSED = re.compile(
    r"credentials|access ?denied|InvalidAccessKeyId|SignatureDoesNotMatch|Forbidden|\(403\)"
    "|ExpiredToken|InvalidToken|RequestTimeTooSkewed",
    re.IGNORECASE,
)
"""Messages of a store that does not accept the user. To some requests S3 says no more than 403."""
ABSENT = re.compile(
    r"NoSuchBucket|bucket does not exist|no remote|\(404\)|NotDvcRepoError|not a git repository"
    "|config file|config profile",
    re.IGNORECASE,
)
"""Messages for a remote, bucket or profile that does not exist."""
CREDENTIALS = "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the rights of that key; "
AGAIN = "push again with: hpt push"


class PushError(RuntimeError):
    """The remote did not take the files, or give them; the message has its reason."""


def push(root: Path, targets: Sequence[str] | None = None) -> int:
    """Number of files that were copied. Raises PushError once the attempts are used up.

    targets: outputs of stages, or files that `dvc add` tracks; by default all.
    """
    return _with_retries(root, "pushed to", lambda repo: int(repo.push(targets=targets)))


def pull(root: Path, targets: Sequence[str]) -> int:
    """Put what dvc.lock has of `targets` in the place of whatever is there; returns the number of files that
    the remote gave. Raises PushError as `push` does."""
    return _with_retries(
        root, "pulled from", lambda repo: int(repo.pull(targets=targets, force=True)["stats"]["fetched"])
    )


def fetch(root: Path, objects: Collection[HashInfo]) -> int:
    """Number of `objects` that were copied into DVC's cache. Raises PushError as `push` does."""
    return _with_retries(root, "fetched from", lambda repo: len(repo.cloud.pull(objects).transferred))


def _with_retries(root: Path, done: str, action: Callable[[Repo], int]) -> int:
    for delay in (*DELAYS, None):
        try:
            return _try_once(root, done, action)
        except PushError as error:
            # Time does not mend these.
            if delay is None or REFUSED.search(str(error)) or ABSENT.search(str(error)):
                raise
            seconds = delay * random.uniform(1, 1.5)
            print(f"{error}; trying again in {seconds:.0f} s", flush=True)
            time.sleep(seconds)
    raise AssertionError("the last attempt returns or raises")


class _Reasons(logging.Handler):
    """Collects the reasons for which files were not copied, instead of a traceback for each."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.reasons: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            why = reason(record.exc_info[1])
            self.reasons[why] = self.reasons.get(why, 0) + 1


def _try_once(root: Path, done: str, action: Callable[[Repo], int]) -> int:
    reasons = _Reasons()
    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    for logger in loggers:
        logger.handlers, logger.propagate = [reasons], False
    remote = "the remote"
    try:
        with Repo(str(root), _wait_for_lock=True) as repo:
            remote = str(repo.config["remote"].get(repo.config["core"].get("remote"), {}).get("url", remote))
            return action(repo)
    # The clients of the stores raise errors of their own, which DVC wraps for some operations only.
    except Exception as error:
        if isinstance(error, DvcException) and reasons.reasons:
            [(why, count), *_] = sorted(reasons.reasons.items(), key=lambda item: -item[1])
            raise PushError(f"{count} files could not be {done} {remote}: {why}") from error
        raise PushError(f"nothing could be {done} {remote}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """What the store or the disk said: the innermost cause with a message, in one line."""
    if fault := storage_fault(error):
        return fault
    while (cause := error.__cause__) is not None and str(cause):
        error = cause
    return one_line(error)


def remedy(error: PushError) -> str:
    """What to do before the next push, and the command for it."""
    return f"{CREDENTIALS if REFUSED.search(str(error)) else ''}{AGAIN}"


def push_command() -> list[str]:
    """The command that runs this module."""
    return [sys.executable, "-m", "pipelines.orchestration.push"]


def main() -> None:
    """Push from the current folder; exit status 1 with one line where it fails."""
    try:
        count = push(Path("."))
    except PushError as error:
        print(f"{error}; {remedy(error)}")
        sys.exit(1)
    if sentence := raw_files.advice(Path(".")):
        print(sentence)
    print(f"{count} files pushed")


if __name__ == "__main__":
    main()
