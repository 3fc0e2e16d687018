"""A stage of the flow that runs on a pool: offered, awaited and accepted as if it had run here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal, cast

from hpt_core.errors import InputError
from hpt_core.files import read_json, write_json
from pipelines import paths
from pipelines.environment import FLOW_RUN, FLOW_RUN_NAME
from pipelines.messages import clean
from pipelines.orchestration.dvc_stage import Done
from pipelines.orchestration.process_group import CommandError, ProcessGroups
from pipelines.orchestration.steps import Log
from pipelines.pools import transfer
from pipelines.pools.handover import Handover, PoolError, Reply, clean_commit
from pipelines.tracking.checkout import checkout_id

RunOnPool = Callable[[Handover, str, ProcessGroups, Log], Reply]
"""Runs a handover on a pool: `pipelines.pools.child_run.run`."""


def reproduce_on(
    pool: str, stage: str, root: Path, groups: ProcessGroups, env: Mapping[str, str], log: Log, run: RunOnPool
) -> Done:
    """What `dvc_stage.reproduce` does, with the stage's command on a worker of `pool`. No worker is asked for
    a stage that is up to date, or that DVC's cache of runs knows.

    Raises PoolError.
    """
    try:
        return _reproduce_on(pool, stage, root, groups, env, log, run)
    except InputError as error:
        raise PoolError(clean(f"{stage} for pool {pool}: {error}"), status=2) from error
    except CommandError as error:
        reason = error.tail[-1] if error.tail else str(error)
        raise PoolError(f"{stage} for pool {pool}: {reason}", error.status) from error


def _reproduce_on(
    pool: str, stage: str, root: Path, groups: ProcessGroups, env: Mapping[str, str], log: Log, run: RunOnPool
) -> Done:
    done = transferred("offer", stage, root, groups, log)
    if done != transfer.OFFERED:
        return cast(Done, done)
    file = root / transfer.place(stage)
    offered = read_json(file)
    handover = Handover(
        stage=stage,
        commit=clean_commit(root),
        params=(root / paths.PARAMS).read_text(encoding="utf-8"),
        lock=offered["lock"],
        expected=offered["expected"],
        flow_run=env[FLOW_RUN],
        flow_run_name=env[FLOW_RUN_NAME],
        checkout=checkout_id(root),
    )
    reply = run(handover, pool, groups, log)
    write_json(file, asdict(reply))
    transferred("accept", stage, root, groups, log)
    if reply.timing is not None:
        write_json(root / paths.timing(stage), reply.timing)
    return "done"


def transferred(
    what: Literal["offer", "accept", "take", "give"], stage: str, root: Path, groups: ProcessGroups, log: Log
) -> str:
    """Do `what` in a process of its own; returns its verdict. Raises CommandError, which ends with why."""
    lines: list[str] = []

    def tell(line: str) -> None:
        if lines:
            log("%s", lines[-1])
        lines.append(line)

    groups.run(transfer.command(what, stage), root, tell)
    # Clients of stores may print a line as the process exits.
    verdict = next((line for line in reversed(lines) if line in transfer.VERDICTS), None)
    if verdict is None:
        raise PoolError(f"nothing says how the {what} of {stage} ended; run again")
    return verdict
