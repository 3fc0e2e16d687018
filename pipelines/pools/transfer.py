"""DVC's part in running a stage on a pool: inputs and outputs through the remote, the entry into dvc.lock.

    python -m pipelines.pools.transfer offer|accept|take|give STAGE

The flow offers the inputs and accepts the outputs; the worker takes the inputs and gives the outputs. This is
a process of its own, because a transfer cannot be interrupted inside of another one. It works in the current
folder; JSON is passed in `place`. One line is of VERDICTS, or the last says why not.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from dvc.exceptions import CollectCacheError
from dvc.repo import Repo, lock_repo
from dvc.stage import PipelineStage
from dvc.stage.cache import RunCacheNotFoundError
from dvc.stage.loader import StageLoader

from hpt_core.errors import InputError
from hpt_core.files import read_json, write_json
from pipelines import paths
from pipelines.messages import clean
from pipelines.orchestration import raw_files
from pipelines.orchestration.damaged_objects import remove_damaged
from pipelines.orchestration.push import PushError, fetch, pull, push, reason, remedy
from pipelines.pools.handover import differences
from pipelines.tracking.dvc_lock import LockEntry, live_entry, read_lock

OFFERED, ACCEPTED, TAKEN, GIVEN = "offered", "accepted", "taken", "given"
VERDICTS = {OFFERED, ACCEPTED, TAKEN, GIVEN, "unchanged", "restored"}
"""The lines with which this process says what it has done."""
RECORDED = (paths.EXPERTS, paths.EXPERTS_DISTANCE)
"""What a training reads beside its inputs, for its run in MLflow."""


def place(stage: str) -> Path:
    """The file through which this process and the one that started it pass what they have.

    Raises InputError for what cannot be the name of a stage, since the name comes from another machine.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+(@[A-Za-z0-9_-]+)?", stage):
        raise InputError(f"{stage!r} is no stage of dvc.yaml; a stage's name has letters, digits, _, - and @")
    return paths.LOGS / f"pools/{stage}.json"


def offer(root: Path, stage: str) -> str:
    """Push the inputs of `stage` for a worker, and write its expected entry and the outputs in dvc.lock. Not
    where the stage is up to date, or DVC's cache of runs has its outputs, which are restored."""
    done = settle(root, stage)
    if done == "restored" and remove_damaged(root, stage):
        done = settle(root, stage)
    if done is not None:
        return done
    inputs, unversioned = _inputs(root, stage), raw_files.unversioned(root)
    if missing := [
        name for name in unversioned if any(_overlap(name, dep) for dep in _dependencies(root, stage))
    ]:
        raise InputError(f"no worker gets {', '.join(missing)}: {raw_files.advice(root)}")
    if inputs:
        push(root, inputs)
    with Repo(str(root), _wait_for_lock=True) as repo, lock_repo(repo):
        lock = _lock_for(stage, dict(read_lock(root)))
    write_json(root / place(stage), {"expected": live_entry(root, stage), "lock": lock})
    return OFFERED


def _lock_for(stage: str, lock: dict[str, Any]) -> dict[str, Any]:
    """The entries of dvc.lock that a worker needs: whole ones of the stages that all arms or that of `stage`
    have, by which MLflow names a run, and of other arms the outputs alone."""
    arms = ("", stage.partition("@")[2])
    return {
        name: entry if name.partition("@")[2] in arms else {key: entry[key] for key in ("cmd", "outs")}
        for name, entry in lock.items()
    }


def take(root: Path, stage: str) -> str:
    """Pull the inputs of `stage`. Raises InputError where something that it reads is not as expected."""
    with Repo(str(root), _wait_for_lock=True) as repo:
        names = [entry.name for entry in repo.index.stages if isinstance(entry, PipelineStage)]
    if stage not in names:
        raise InputError(f"dvc.yaml has no stage {stage!r}; it has {', '.join(names)}")
    if inputs := _inputs(root, stage):
        pull(root, inputs)
    if changed := differences(live_entry(root, stage), read_json(root / place(stage))["expected"]):
        raise InputError(
            f"{', '.join(changed)} differ between the flow's checkout and the worker's {root.resolve()}; "
            "both need the same commit, DVC remote and version of DVC, and nobody edits a worker's checkout"
        )
    return TAKEN


def give(root: Path, stage: str) -> str:
    """Push the outputs of `stage`."""
    with Repo(str(root), _wait_for_lock=True) as repo:
        [running] = repo.stage.collect(stage)
        outputs = [out.def_path for out in running.outs]
    push(root, outputs)
    return GIVEN


def accept(root: Path, stage: str) -> str:
    """Fetch the outputs of the entry that a worker made, and put them and the entry in place as DVC does for
    a stage that it finds in its cache of runs.

    Raises InputError for an entry of other inputs than those that are here.
    """
    entry: LockEntry = read_json(root / place(stage))["entry"]
    if changed := differences(live_entry(root, stage), entry):
        raise InputError(
            f"{', '.join(changed)} of {stage} changed here while a worker ran it, so its outputs are not "
            "taken; run again"
        )
    with Repo(str(root), _wait_for_lock=True) as repo, lock_repo(repo):
        [made] = repo.stage.collect(stage)
        StageLoader.fill_from_lock(made, entry)
        if lacking := [out.def_path for out in made.outs if not out.hash_info]:
            raise InputError(
                f"the worker made no {', '.join(lacking)}; it runs another version of the project"
            )
        # What is missing shows when it is to be put in place.
        with suppress(CollectCacheError):
            for objects in made.get_used_objs().values():
                fetch(root, objects)
        # The key is the stage's own; the paths are those of dvc.yaml, whatever the entry names.
        repo.stage_cache.save(made)
    if settle(root, stage) != "restored" or remove_damaged(root, stage):
        raise InputError(
            f"the outputs of {stage} are not whole in the DVC remote of this checkout; the worker must have "
            "the same remote: compare `dvc remote list`"
        )
    return ACCEPTED


def settle(root: Path, stage: str) -> Literal["unchanged", "restored"] | None:
    """What `dvc repro` does for `stage` short of running its command; None where only that is left."""
    with Repo(str(root), _wait_for_lock=True) as repo, lock_repo(repo):
        [wanted] = repo.stage.collect(stage)
        if not wanted.changed():
            return "unchanged"
        wanted.remove_outs()
        try:
            # Not after `save_deps`: it would take the outputs of dvc.lock for those of the present inputs.
            repo.stage_cache.restore(wanted)
        except RunCacheNotFoundError:
            return None
        wanted.save()
        wanted.commit()
        wanted.dump(update_pipeline=False)
        return "restored"


def _inputs(root: Path, stage: str) -> list[str]:
    """The outputs of other stages, and the files of `dvc add`, of which `stage` reads at least a part."""
    needed = [*_dependencies(root, stage), *(map(str, RECORDED) if stage.startswith("train@") else ())]
    with Repo(str(root), _wait_for_lock=True) as repo:
        outs = {
            str(Path(out.fs_path).relative_to(root.resolve())) for out in repo.index.outs if out.is_in_repo
        }
    return sorted(out for out in outs if any(_overlap(out, dep) for dep in needed))


def _dependencies(root: Path, stage: str) -> list[str]:
    with Repo(str(root), _wait_for_lock=True) as repo:
        [running] = repo.stage.collect(stage)
        return [dep.def_path for dep in running.deps if dep.protocol == "local"]


def _overlap(one: str, other: str) -> bool:
    return Path(one).is_relative_to(other) or Path(other).is_relative_to(one)


def command(what: Literal["offer", "accept", "take", "give"], stage: str) -> list[str]:
    """The command that does `what`."""
    return [sys.executable, "-m", "pipelines.pools.transfer", what, stage]


def main(what: str, stage: str) -> int:
    """Exit status 0; 2 for inputs that cannot be used, 1 for a remote or a DVC that fails."""
    try:
        print({"offer": offer, "accept": accept, "take": take, "give": give}[what](Path("."), stage))
    except InputError as error:
        print(clean(str(error)))
        return 2
    except PushError as error:
        print(clean(f"{error}; {remedy(error)}"))
        return 1
    # The clients of the stores raise errors of their own.
    except Exception as error:
        print(clean(f"{what} of {stage}: {reason(error)}"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
