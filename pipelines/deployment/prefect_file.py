"""infra/prefect.yaml: the same deployments for `prefect deploy`, generated from params.yaml."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipelines.deployment.specification import (
    COLLISION,
    GRACE,
    INBOX_EVENT,
    INBOX_RESOURCE,
    POOL,
    Deployment,
    deployments,
)
from pipelines.deployment.triggers import DEBOUNCE_S
from pipelines.params import Params

FILE = Path("infra/prefect.yaml")
HEADER = """\
# Written by `hpt deploy --write` from params.yaml; edit that.
#
# `hpt deploy` creates these deployments together with the work pool, the automations and the alerts. This
# file is for whoever uses `prefect deploy` instead, from the checkout:
#   hpt deploy                              # once, for the work pool and the automations
#   prefect --no-prompt deploy --prefect-file infra/prefect.yaml --all
#   hpt worker
# `prefect deploy` knows limits of one deployment only. `hpt deploy` lets nightly and retrain share one.
"""


def text(params: Params) -> str:
    """The file for `params`."""
    content = {
        "name": "hpt",
        "pull": [{"prefect.deployments.steps.set_working_directory": {"directory": "{{ $PWD }}"}}],
        "deployments": [_entry(deployment, params.schedule.overlap) for deployment in deployments(params)],
    }
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 110
    output = StringIO()
    yaml.dump(content, output)
    lines = (line.rstrip() for line in output.getvalue().splitlines())
    return HEADER + "".join(f"{line}\n" for line in lines)


def write(root: Path, params: Params) -> Path:
    """Write the file for `params` and return its path."""
    (root / FILE).write_text(text(params))
    return FILE


def _entry(deployment: Deployment, overlap: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": deployment.name,
        "description": deployment.description,
        "tags": ["hpt"],
        "entrypoint": deployment.entrypoint,
        "parameters": dict(deployment.parameters),
        "work_pool": {"name": deployment.pool or POOL},
    }
    if deployment.cron:
        entry["schedules"] = [{"cron": deployment.cron, "timezone": deployment.timezone}]
    if deployment.on_inbox:
        entry["triggers"] = [
            {
                "name": "new files in an inbox",
                "match": {"prefect.resource.id": f"{INBOX_RESOURCE}*"},
                "expect": [INBOX_EVENT],
                "within": DEBOUNCE_S,
            }
        ]
    if deployment.exclusive:
        strategy = COLLISION[overlap].value
        entry["concurrency_limit"] = {
            "limit": 1,
            "collision_strategy": strategy,
            "grace_period_seconds": GRACE,
        }
    return entry
