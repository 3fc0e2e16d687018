"""`python -m pipelines.cli.flow_run`: the command of the work pools, which runs what a worker has accepted.

The flow is chosen by its name among those of this project and imported from this checkout. The entrypoint and
the pull steps of the deployment are not read, since whoever reaches the API of the Prefect server can write
those.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from uuid import UUID

from pipelines import environment


def main() -> int:
    """Run the flow run PREFECT__FLOW_RUN_ID; exit status 2 if its flow is none of this project."""
    environment.prepare(Path.cwd())
    run = os.environ["PREFECT__FLOW_RUN_ID"]
    from pipelines.deployment.server import flow_name
    from pipelines.deployment.specification import FLOWS, STAGE_FLOW, STAGE_OPTION

    name, of_stages = flow_name(UUID(run)), STAGE_OPTION in sys.argv
    allowed = [flow for flow in FLOWS if (flow == STAGE_FLOW) == of_stages]
    if name not in allowed:
        known = ", ".join(allowed)
        print(f"flow run {run} is of the flow {name!r}; this worker runs {known}", file=sys.stderr)
        return 2
    # Prefect's engine imports this object then, and reads neither entrypoint nor pull steps.
    os.environ["PREFECT__FLOW_ENTRYPOINT"] = FLOWS[name]
    sys.argv[1:] = [run]
    runpy.run_module("prefect.engine", run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
