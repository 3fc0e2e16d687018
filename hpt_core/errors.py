"""One exception class per boundary. Mistakes that a user can make are ValueErrors that name the remedy."""

import errno
import re
from collections.abc import Iterator

COLOUR = re.compile(r"\x1b\[[\d;]*m")
"""Terminal codes that torch puts into messages."""


class InputError(ValueError):
    """A file, a row or a parameter cannot be used; the message names file, line and remedy."""


class VerifierError(RuntimeError):
    """A response could not be judged."""


class LimitError(VerifierError):
    """Grading a response exceeded the limit of memory or stack; the response itself is the cause."""


class EngineError(RuntimeError):
    """An engine or a server cannot go on sampling; the message says what was kept and what to do."""


class TrainingError(RuntimeError):
    """A step must not be taken: a value is NaN, or the batch lacks data that its algorithm needs."""


class CheckpointError(RuntimeError):
    """A checkpoint or a log of responses is truncated, damaged or belongs to other parameters."""


REPORTED_ERRORS = (InputError, VerifierError, EngineError, TrainingError, CheckpointError)
"""Errors whose message tells a user what to correct."""


def one_line(error: BaseException, length: int = 200) -> str:
    """The error's class and the first `length` characters of its message, without colours."""
    return f"{type(error).__name__}: {' '.join(COLOUR.sub('', str(error)).split())[:length]}"


STORAGE_FAULTS = {
    errno.ENOSPC: ("no space is left", "make room"),
    errno.EDQUOT: ("the quota is used up", "make room"),
    errno.EROFS: ("the file system is read-only", "allow writing"),
    errno.EACCES: ("permission denied", "allow access to it"),
    errno.EPERM: ("permission denied", "allow access to it"),
    errno.EIO: ("the disk reports an error", "look at the disk"),
}
"""Faults of the machine's storage: what is wrong, and the remedy."""
FULL = re.compile(r"No space left on device|os error 28|database or disk is full")
"""What libraries that raise errors of their own say of a full disk."""


def storage_fault(error: BaseException) -> str | None:
    """One line with file and remedy where the machine's storage is at fault, not the program; else None."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in STORAGE_FAULTS:
            fault, remedy = STORAGE_FAULTS[cause.errno]
            place = f"{cause.filename}: " if cause.filename else ""
            return f"{place}{fault}; {remedy} and start again, which goes on from what is there"
        if FULL.search(str(cause)):
            return "no space is left; make room and start again, which goes on from what is there"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those that led to it."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__
