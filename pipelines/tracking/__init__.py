"""Everything that is written to MLflow, and read from it."""

import os

from pipelines import environment

# MLflow reads its telemetry switch when it is imported, which the modules of this package do.
for _name, _value in environment.QUIET.items():
    os.environ.setdefault(_name, _value)
