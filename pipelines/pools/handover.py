"""What the flow sends to the worker of a pool, what it gets back, and when either is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dvc.utils.serialize import dumps_yaml

from hpt_core.errors import InputError
from hpt_core.files import write_text
from pipelines import paths
from pipelines.messages import first_names
from pipelines.orchestration.stale_outputs import git
from pipelines.params import load_params
from pipelines.tracking.dvc_lock import LockEntry

WRITTEN_BY_RUNS = (paths.PARAMS, paths.DVC_LOCK, Path(".dvc/.gitignore"))
"""Files of the commit that may differ: the first two are handed over, the last is DVC's own."""


class PoolError(RuntimeError):
    """A stage did not end well on its pool; the message says which stage and pool, and why."""

    def __init__(self, message: str, status: int = 1) -> None:
        """status: 2 where only what the user gave stands in the way."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Handover:
    """One stage for the worker of a pool; the parameters of the flow `hpt-stage`."""

    stage: str
    commit: str
    """The commit of the code that the stage is to run with."""
    params: str
    """The text of params.yaml."""
    lock: dict[str, Any]
    """The entries of dvc.lock. Those of other arms have the outputs alone, since Prefect's server takes half
    a megabyte of parameters."""
    expected: LockEntry
    """The stage's entry of dvc.lock, without outputs: the hash of everything that it reads."""
    flow_run: str
    flow_run_name: str
    """The flow run in which the stage is a step, which has a parent run in MLflow."""
    checkout: str
    """The id of its checkout."""

    def parameters(self) -> dict[str, Any]:
        return asdict(self)

    def write(self, root: Path) -> None:
        """Put the flow's parameters and outputs into params.yaml and dvc.lock of the checkout.

        Raises InputError where the code here does not take these parameters.
        """
        offered = root / paths.LOGS / "pools/params.yaml"
        write_text(offered, self.params)
        load_params(offered)
        write_text(root / paths.PARAMS, self.params)
        write_text(root / paths.DVC_LOCK, dumps_yaml({"schema": "2.0", "stages": self.lock}))


@dataclass(frozen=True)
class Reply:
    """What the worker of a pool made."""

    entry: LockEntry
    """The stage's entry of dvc.lock."""
    timing: dict[str, Any] | None
    """The file `paths.timing`, which is in no version; None where the stage did not run."""


def clean_commit(root: Path) -> str:
    """The commit that is checked out in `root`. Raises InputError where files differ from it, since a worker
    could not have them."""
    commit, changed = _head(root), changed_files(root)
    if not commit:
        raise InputError(
            "a stage of a pool needs a commit, which the workers check out: `git commit` the project"
        )
    if changed:
        raise InputError(
            f"{first_names(changed)} differ from commit {commit}, the code that workers of pools have; "
            "commit and push, and `git pull` in the workers' checkouts; or remove `pools` from params.yaml"
        )
    return commit


def check_worker(root: Path, commit: str) -> None:
    """Raises InputError where the checkout `root` of a worker has not the code of `commit`."""
    here, changed = _head(root), changed_files(root)
    if here != commit:
        raise InputError(
            f"the flow runs commit {commit}, and the worker's checkout {root.resolve()} is at "
            f"{here or 'none'}; there: git fetch && git checkout {commit}"
        )
    if changed:
        raise InputError(
            f"{first_names(changed)} differ from the commit in the worker's checkout {root.resolve()}, which "
            f"is at {here} as the flow is; there: git stash --include-untracked"
        )


def changed_files(root: Path) -> list[str]:
    """Files that differ from the commit, or are neither in it nor ignored; without WRITTEN_BY_RUNS."""
    excluded = [f":(exclude){path}" for path in WRITTEN_BY_RUNS]
    listed = git(
        root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", ".", *excluded
    )
    return sorted(entry[3:] for entry in listed.split("\0") if entry)


def differences(here: LockEntry, there: LockEntry) -> list[str]:
    """Names of the dependencies and parameters in which two entries of a stage differ, and of the command."""
    ours, theirs = _inputs(here), _inputs(there)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def _inputs(entry: Mapping[str, Any]) -> dict[str, Any]:
    found = {dep["path"]: dep["md5"] for dep in entry.get("deps", [])}
    for file, values in entry.get("params", {}).items():
        found |= {f"{file}:{key}": value for key, value in values.items()}
    return found | {"its command": entry.get("cmd")}


def _head(root: Path) -> str:
    return git(root, "rev-parse", "--verify", "-q", "HEAD").strip()
