"""Everything that is written to MLflow, and read from it."""

import os

from pipelines import environment

# MLflow reads its telemetry switch when it is imported, and only modules of this package import it.
for _name, _value in environment.QUIET.items():
    os.environ.setdefault(_name, _value)
