"""One exception for a tracking server that cannot be reached or that fails. Nothing here imports mlflow."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.environment import tracking_uri
from pipelines.messages import clean

REASON_LENGTH = 300


class TrackingError(RuntimeError):
    """MLflow failed; the message names the server and MLflow's reason. All results are still on disk."""

    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(clean(f"MLflow at {uri} failed: {reason}"))
        self.reason = clean(reason)


@contextmanager
def tracking_errors(root: Path) -> Iterator[None]:
    """Raise TrackingError where MLflow fails inside the block.

    A file that is missing on this machine is not a failure of MLflow, so other exceptions pass unchanged.
    """
    try:
        yield
    except Exception as error:
        # Importing mlflow takes seconds. A block that has not imported it cannot have failed in it.
        if "mlflow" not in sys.modules or not isinstance(error, _mlflow_exceptions()):
            raise
        reason = (str(error) or repr(error)).splitlines()[0][:REASON_LENGTH]
        raise TrackingError(tracking_uri(root), reason) from error


def _mlflow_exceptions() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    # MLflow does not wrap the OperationalError of a database that it cannot open.
    return MlflowException, OperationalError, ConnectionError, TimeoutError
