"""What is wrong with the sources, models, teacher and arms of params.yaml, before a stage spends anything."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from hpt_core.data.curation.contract import groups
from hpt_core.data.demonstrations.selection import entry_of
from hpt_core.errors import InputError
from hpt_core.files import read_text
from pipelines.params import Params
from pipelines.stage.check import Check, errors
from pipelines.stage.machine_checks import check_machine
from pipelines.stage.model_files import check_model
from pipelines.stage.source_checks import (
    check_experts,
    check_prompts,
    check_warm_start,
    known_problems,
    unlisted_license,
)

log = logging.getLogger(__name__)


def check_inputs(params: Params) -> list[Check]:
    """All checks, in the order of params.yaml; paths are relative to the current folder."""
    prompts = [
        check_prompts(params, group, key, source)
        for group, key, sources in groups(params.curate)
        if group != "against"
        for source in sources
    ]
    known = known_problems(params)
    experts = {source.name: check_experts(params, source, known) for source in params.experts.sources}
    models = [check_model("base", params.base), *check_warm_start("base", params.base)]
    if params.teacher:
        models.append(_teacher(params))
        models += check_warm_start("teacher.policy", params.teacher.policy)
    machine = check_machine(params, Path())
    return [*prompts, *models, *experts.values(), *_arms(params, experts), *machine]


def check_before_run(params: Params, root: Path) -> None:
    """Raises InputError, a line for each error, for inputs on which a stage would stop after others are done.

    A project whose dvc.yaml has no stage `experts` of this package reads its sources by rules of its own.
    """
    if "pipelines.experts" not in read_text(root / "dvc.yaml", "run `hpt` in the project's folder"):
        return
    if lines := errors(check_inputs(params)):
        raise InputError("nothing was run:\n" + "\n".join(lines) + "\n`hpt check` shows every source")


def check_new_source(params: Params, name: str) -> None:
    """Raises InputError where the expert source `name` cannot be read, or its license is not listed."""
    [source] = [source for source in params.experts.sources if source.name == name]
    check = check_experts(params, source, known_problems(params))
    if reasons := [*check.errors, *unlisted_license(params, source)]:
        raise InputError("; ".join(reasons))
    for warning in check.warnings:
        log.warning("%s: %s", check.what, warning)


def _arms(params: Params, experts: dict[str, Check]) -> Iterator[Check]:
    """The arms that would have no demonstration at all."""
    for name, arm in params.arms.items():
        admitted = [
            experts[source.name]
            for source in params.experts.sources
            if any(entry_of(arm.mix, kind, source.name) for kind in source.kinds)
        ]
        if params.teacher and entry_of(arm.mix, "teacher", "teacher"):
            continue
        if admitted and all(check.usable == 0 for check in admitted):
            reasons = "; ".join(f"{check.what}: {(check.errors + check.warnings)[0]}" for check in admitted)
            yield Check(
                f"arms.{name}", "no demonstration", errors=[f"no row of its sources can be used: {reasons}"]
            )


def _teacher(params: Params) -> Check:
    assert params.teacher
    if params.teacher.policy:
        return check_model("teacher.policy", params.teacher.policy)
    endpoint = params.teacher.endpoint
    assert endpoint
    names = [name for name in (endpoint.api_key_env, *endpoint.headers_env.values()) if name]
    missing = [name for name in names if not os.environ.get(name)]
    return Check(
        "teacher.endpoint",
        endpoint.model,
        errors=[f"the environment variable {name} is not set, which params.yaml names" for name in missing],
    )
