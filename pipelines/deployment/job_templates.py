"""The base job templates of infra/job_templates, filled in for this checkout.

Each fixes the command, the folder, the image and the environment of a run. So a deployment, a flow run or a
pull step that somebody else creates on the Prefect server starts `pipelines.cli.flow_run`, which runs only
the flows of this checkout.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from hpt_core.errors import InputError
from hpt_core.redaction import redacted
from pipelines.deployment.specification import STAGE_OPTION, PoolType

FOLDER = Path("infra/job_templates")
IMAGE = "hpt:latest"
"""The image of infra/Dockerfile, unless HPT_IMAGE names another."""
SECRET = re.compile(r"\{\{ prefect\.blocks\.secret\.(hpt-[a-z-]+) \}\}")
"""A reference to a Secret block, which the worker resolves when it starts a run."""


def read(root: Path, pool_type: PoolType) -> dict[str, Any]:
    """The template of `pool_type` for the checkout `root`, without the variables that are not set here.

    Raises InputError where the file is missing or no JSON.
    """
    path = root / FOLDER / f"{pool_type}.json"
    values = {
        "PYTHON": shlex.quote(sys.executable),
        "CHECKOUT": str(root),
        "USER_ID": str(os.getuid()),
        # No variable of a run: the image gets the checkout and its secrets.
        "IMAGE": os.environ.get("HPT_IMAGE", IMAGE),
    }
    try:
        text = Template(path.read_text()).safe_substitute(
            {name: _escaped(value) for name, value in values.items()}
        )
        template: dict[str, Any] = json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; restore it from git") from error
    configuration = template["job_configuration"]
    configuration["env"] = dict(_environment(configuration["env"], os.environ))
    return template


def of_stages(root: Path) -> dict[str, Any]:
    """The template of a pool of stages. `hpt worker` keeps to its own checkout in place of `root`."""
    template = read(root, "process")
    template["job_configuration"]["command"] += f" {STAGE_OPTION}"
    return template


def secrets(template: dict[str, Any]) -> dict[str, str]:
    """Secret block that `template` refers to -> the environment variable that holds its value."""
    references = (
        (name, SECRET.fullmatch(value)) for name, value in template["job_configuration"]["env"].items()
    )
    return {match[1]: name for name, match in references if match}


def _environment(template: Mapping[str, str], environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """The variables that are set here: secrets by reference, the others by value.

    Raises InputError where a value holds a password, since every user of the Prefect server reads the values.
    """
    for name, value in template.items():
        if not SECRET.fullmatch(value) and redacted(environ.get(name, ""), {}) != environ.get(name, ""):
            raise InputError(
                f"{name} holds a password, and a work pool would show it; set the address without it, and "
                "user and password in variables of their own, such as MLFLOW_TRACKING_PASSWORD"
            )
    return [
        (name, value if SECRET.fullmatch(value) else environ[name])
        for name, value in template.items()
        if environ.get(name)
    ]


def _escaped(value: str) -> str:
    return json.dumps(value)[1:-1]
