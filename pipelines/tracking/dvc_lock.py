"""dvc.lock, and the hash of all that an arm was made from, which is the key under which it is published.

The hash covers the dependencies and parameters of a stage as dvc.lock holds them. While the stage still runs,
dvc.lock has no entry for it; DVC's own API then gives the same values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from ruamel.yaml import YAML

from hpt_core.errors import InputError
from pipelines import paths

DOWNSTREAM = ("evaluate_base", "compare")
"""The stages without an arm in their name that no arm is made from."""


class LockedFile(TypedDict):
    """A dependency or output: its path in dvc.yaml and its DVC hash."""

    path: str
    md5: str


class LockEntry(TypedDict, total=False):
    """A stage in dvc.lock."""

    deps: list[LockedFile]
    params: dict[str, dict[str, Any]]
    """Parameter file -> key -> value."""
    outs: list[LockedFile]


Lock = Mapping[str, LockEntry]
"""Stage name -> its entry."""


def read_lock(root: Path) -> dict[str, LockEntry]:
    """The entries of dvc.lock; empty where no stage has run yet. Raises InputError for a damaged file."""
    path = root / paths.DVC_LOCK
    if not path.exists():
        return {}
    tree = YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {}
    if "stages" not in tree:
        raise InputError(f"{path}:1: no `stages`; restore the file from git, or remove it and run again")
    return dict(tree["stages"])


def digest(entry: LockEntry) -> str:
    """sha256 over the canonical JSON of an entry's dependency hashes and parameters."""
    tree = {"deps": dependency_hashes(entry), "params": entry.get("params", {})}
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def hash_without_seed(lock: Lock, stage: str, entry: LockEntry) -> str:
    """One hash for all runs of a train stage that differ in the seed alone.

    It covers the parameters, code and raw data of the stage and of those upstream. It leaves out the files
    that these stages pass to each other, because they follow from the seed.
    """
    entries: dict[str, LockEntry] = {name: lock[name] for name in upstream(lock, stage)} | {stage: entry}
    outputs = [out["path"] for stage_entry in entries.values() for out in stage_entry.get("outs", [])]
    reduced: dict[str, LockEntry] = {}
    for name, stage_entry in entries.items():
        params = {key: value for key, value in parameters(stage_entry).items() if key != "seed"}
        sources = [dep for dep in stage_entry.get("deps", []) if not _within(dep["path"], outputs)]
        reduced[name] = {"deps": sources, "params": {str(paths.PARAMS): params}}
    digests = "".join(digest(reduced[name]) for name in sorted(reduced))
    return hashlib.sha256(digests.encode()).hexdigest()


def upstream(lock: Lock, stage: str) -> list[str]:
    """The stages that the train stage of an arm is made from: those of all arms, and the arm's selection."""
    selection = f"select@{stage.partition('@')[2]}"
    return [name for name in lock if name == selection or ("@" not in name and name not in DOWNSTREAM)]


def experts_hash(lock: Lock, stage: str, entry: LockEntry) -> str:
    """The DVC hash of the expert trajectories that the demonstrations of a train stage were selected from.

    Raises InputError where dvc.lock has no selection for it.
    """
    for made_from in (*(lock[name] for name in upstream(lock, stage) if "@" in name), entry):
        if digest_of_experts := dependency_hashes(made_from).get(str(paths.EXPERTS)):
            return digest_of_experts
    raise InputError(f"{paths.DVC_LOCK}: nothing was selected for {stage}; run `dvc repro {stage}`")


def dependency_hashes(entry: LockEntry) -> dict[str, str]:
    """Path -> DVC hash."""
    return {dep["path"]: dep["md5"] for dep in entry.get("deps", [])}


def parameters(entry: LockEntry) -> dict[str, Any]:
    """Key of params.yaml -> value, for the keys that the stage depends on."""
    return dict(entry.get("params", {}).get(str(paths.PARAMS), {}))


def _within(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def locked_digest(lock: Lock, stage: str) -> str | None:
    """The digest of a stage that has run; None where dvc.lock has no entry for it."""
    return digest(lock[stage]) if stage in lock else None


def live_entry(root: Path, stage: str) -> LockEntry:
    """The entry, without its outputs, that dvc.lock will hold once this running stage has ended."""
    from dvc.repo import Repo
    from dvc.stage.serialize import to_single_stage_lockfile

    with Repo(str(root)) as repo:
        [running] = repo.stage.collect(stage)
        running.outs.clear()  # The stage is still writing them.
        running.save_deps()
        # DVC's own dict types become plain ones.
        entry: LockEntry = json.loads(json.dumps(to_single_stage_lockfile(running)))
        return entry


def output_hash(lock: Lock, path: str) -> str | None:
    """The DVC hash of an output, by its path in dvc.yaml; None where no stage has written it."""
    for entry in lock.values():
        for out in entry.get("outs", []):
            if out["path"] == path:
                return str(out["md5"])
    return None


class Remote:
    """The default DVC remote, whose configuration is read once."""

    def __init__(self, root: Path) -> None:
        from dvc.config import NoRemoteError
        from dvc.repo import Repo

        self._store: Any = None
        with Repo(str(root)) as repo, suppress(NoRemoteError):
            self._store = repo.cloud.get_remote_odb(None)

    def url(self, md5: str) -> str | None:
        """Where the remote keeps the file of this hash; None without a remote."""
        if self._store is None:
            return None
        return str(self._store.fs.unstrip_protocol(self._store.oid_to_path(md5)))
