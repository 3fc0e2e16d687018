"""One exception class per boundary. Mistakes that a user can make are ValueErrors that name the remedy."""


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
