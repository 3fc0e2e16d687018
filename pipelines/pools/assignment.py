"""Which stage runs on which pool, by `pools` of params.yaml, and what such a stage needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from dvc.repo import Repo

from hpt_core.errors import InputError
from hpt_core.redaction import without_user
from pipelines import paths
from pipelines.pools.handover import clean_commit


def assign(pools: Mapping[str, str], stages: Iterable[str]) -> dict[str, str]:
    """Stage -> its pool, for those of `stages`, all of dvc.yaml, that have one; the key of one arm decides
    before the key of all arms.

    Raises InputError for a key that is no stage.
    """
    names = list(stages)
    known = sorted({*names, *(name.partition("@")[0] for name in names)})
    for key in pools:
        if key not in known:
            raise InputError(
                f"{paths.PARAMS}: pools.{key}: no stage has this name; correct it to one of "
                f"{', '.join(known)}, or remove the key"
            )
    chosen = {name: pools.get(name) or pools.get(name.partition("@")[0]) for name in names}
    return {name: pool for name, pool in chosen.items() if pool}


def check(root: Path, assigned: Mapping[str, str], reachable: bool) -> None:
    """Raises InputError where the stages of `assigned`, which are to run, could not get to their pools.

    reachable: whether the run is on a Prefect server that workers on other machines reach.
    """
    if not assigned:
        return
    stage, pool = next(iter(assigned.items()))
    what = f"{paths.PARAMS}: pools gives {stage} to {pool}"
    if not reachable:
        raise InputError(
            f"{what}, whose workers need a Prefect server: set PREFECT_API_URL, or start one with "
            "`hpt stack up`, and run with Prefect; or remove the key"
        )
    if fault := _remote_fault(root):
        raise InputError(f"{what}, and {fault}; set one that every worker reaches with: hpt remote URL")
    clean_commit(root)


def _remote_fault(root: Path) -> str | None:
    """Why no other machine gets anything through the default DVC remote; None if one may."""
    with Repo(str(root)) as repo:
        name = repo.config["core"].get("remote")
        url = str(repo.config["remote"].get(name, {}).get("url", "")) if name else ""
    if not url:
        return "there is no DVC remote to carry its files"
    # DVC has resolved a path relative to its configuration.
    if "://" not in url and (root / url).resolve().is_relative_to(root.resolve()):
        return f"the DVC remote {without_user(url)} is inside this checkout, where no worker sees it"
    return None
