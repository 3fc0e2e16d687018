"""What an arm was made from, as one hash: the key under which it is published.

It covers the dependencies and parameters of a stage as dvc.lock holds them. While the stage still runs,
dvc.lock has no entry yet; DVC's own API then gives the same values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from hpt_core.errors import InputError

LOCK = "dvc.lock"
AFTER = ("evaluate_base", "compare")
"""Stages of no arm that no arm is made from."""


def read_lock(root: Path) -> dict[str, Any]:
    """Stage name -> its entry in dvc.lock; empty where nothing has run yet."""
    path = root / LOCK
    if not path.exists():
        return {}
    tree = YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {}
    if "stages" not in tree:
        raise InputError(f"{path}:1: no `stages`; restore the file from git, or remove it and run again")
    return dict(tree["stages"])


def digest(entry: Mapping[str, Any]) -> str:
    """sha256 over the canonical JSON of an entry's dependency hashes and parameters."""
    made_from = {
        "deps": {dep["path"]: dep["md5"] for dep in entry.get("deps", [])},
        "params": entry.get("params", {}),
    }
    text = json.dumps(made_from, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def hash_without_seed(lock: Mapping[str, Any], stage: str, entry: Mapping[str, Any]) -> str:
    """One hash for the runs of a train stage that differ in the seed alone.

    Over parameters, code and raw data of the stage and of those before it; what these hand to each other
    follows from the seed.
    """
    entries = {name: lock[name] for name in before(lock)} | {stage: entry}
    made = [out["path"] for one in entries.values() for out in one.get("outs", [])]
    parts = {}
    for name, one in entries.items():
        params = {key: value for key, value in _params(one).items() if key != "seed"}
        given = [dep for dep in one.get("deps", []) if not _within(dep["path"], made)]
        parts[name] = {"deps": given, "params": {"params.yaml": params}}
    return hashlib.sha256("".join(digest(parts[name]) for name in sorted(parts)).encode()).hexdigest()


def before(lock: Mapping[str, Any]) -> list[str]:
    """The stages that arms are made from, which are those of no arm, less what comes after."""
    return [name for name in lock if "@" not in name and name not in AFTER]


def _params(entry: Mapping[str, Any]) -> dict[str, Any]:
    return dict(entry.get("params", {}).get("params.yaml", {}))


def _within(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def locked(lock: Mapping[str, Any], stage: str) -> str | None:
    """The content of a stage that has run; None where dvc.lock does not know it."""
    return digest(lock[stage]) if stage in lock else None


def live_entry(root: Path, stage: str) -> dict[str, Any]:
    """The entry, less its outputs, that dvc.lock will hold once this stage has run."""
    from dvc.repo import Repo
    from dvc.stage.serialize import to_single_stage_lockfile

    with Repo(str(root)) as repo:
        [found] = repo.stage.collect(stage)
        found.outs.clear()  # they are being written
        found.save_deps()
        entry: dict[str, Any] = json.loads(json.dumps(to_single_stage_lockfile(found)))  # plain dicts
        return entry


def output_hash(lock: Mapping[str, Any], path: str) -> str | None:
    """The DVC hash of an output, by its path in dvc.yaml."""
    for entry in lock.values():
        for out in entry.get("outs", []):
            if out["path"] == path:
                return str(out["md5"])
    return None


def remote_url(root: Path, md5: str) -> str | None:
    """Where the default DVC remote keeps this content; None without a remote."""
    from dvc.config import NoRemoteError
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        try:
            return str(repo.cloud.get_url_for(None, md5))
        except NoRemoteError:
            return None
