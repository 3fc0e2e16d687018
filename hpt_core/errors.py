"""One exception class per boundary. Mistakes that a user can make are ValueErrors that name the remedy."""

import re

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
