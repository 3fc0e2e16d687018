"""One class per boundary. What a user may get wrong is a ValueError with the remedy in it."""


class InputError(ValueError):
    """A file, a row or a parameter that cannot be used; names file, line and remedy."""


class VerifierError(RuntimeError):
    """A response could not be judged; never a reward."""


class EngineError(RuntimeError):
    """An engine or a server that cannot go on sampling; says what is kept and what to do."""


class TrainingError(RuntimeError):
    """A step that must not be taken: a NaN, or a batch without the data its algorithm needs."""


class CheckpointError(RuntimeError):
    """A checkpoint that is cut short or belongs to other parameters."""
