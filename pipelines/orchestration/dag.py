"""The DAG of dvc.yaml, as DVC itself resolves it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo, lock_repo
from dvc.scm import SCMError
from dvc.stage import PipelineStage
from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hpt_core.errors import InputError
from hpt_core.files import write_text
from pipelines import paths
from pipelines.orchestration.stale_outputs import git


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml; a `foreach` gives one for each key, named `stage@key`."""

    name: str
    desc: str
    upstream: tuple[str, ...]
    changed: bool
    """Whether the stage, or one upstream of it, is out of date; only then can running it have an effect."""
    place: int = 0
    """Where a bare `dvc repro` would have it: dvc.lock lists the stages in this order."""
    edited: tuple[str, ...] = ()
    """Outputs that have changed since the stage wrote them, where nothing else of it has."""


def load_stages(root: Path) -> list[Stage]:
    """The stages in an order in which they can run, those on the longest chains first.

    Raises InputError where dvc.yaml or params.yaml cannot be resolved.
    """
    try:
        with Repo(str(root), _wait_for_lock=True) as repo, lock_repo(repo):
            return _stages(repo)
    except NotDvcRepoError as error:
        raise InputError(
            f"{root.resolve()} has no .dvc folder; run `dvc init`, or clone the project"
        ) from error
    except SCMError as error:
        raise InputError(
            f"{root.resolve()} is not a git repository, which DVC needs; clone the project, or run "
            "`git init` and commit its files"
        ) from error
    except DvcException as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise InputError(f"{root / 'dvc.yaml'}: {error}{cause}") from error


def mend_lock(root: Path) -> bool:
    """Bring back a dvc.lock that was cut off, as a kill in the middle of DVC's writing leaves it.

    What git has of it is taken, else none: DVC's run cache knows what every stage gave, so nothing is done
    twice. No DVC may be at work in the checkout. Returns whether it was cut off.
    """
    path = root / paths.DVC_LOCK
    if not path.exists():
        return False
    text = path.read_text(encoding="utf-8")
    try:
        # Half a line may be valid YAML, with half a hash.
        if text.endswith("\n") and "schema" in (YAML(typ="safe").load(text) or {}):
            return False
    except YAMLError:
        pass
    if committed := git(root, "show", f"HEAD:./{paths.DVC_LOCK}"):
        write_text(path, committed)
    else:
        path.unlink()
    return True


def order_lock(root: Path, stages: Sequence[Stage]) -> None:
    """List the stages in dvc.lock in the order of a bare `dvc repro`, whichever was done first.

    DVC appends a stage when it has run, and of stages that run side by side it is chance which ends first.
    """
    path = root / paths.DVC_LOCK
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8")
    places = {stage.name: stage.place for stage in stages}

    def ordered(names: Iterable[str]) -> list[str]:
        return sorted(names, key=lambda name: places.get(name, len(places)))

    # DVC indents the names alone by two. Parsing takes long, so it is done only where the order changes.
    names = re.findall(r"^  (\S+):$", text, re.MULTILINE)
    if ordered(names) != names:
        lock = parse_yaml_for_update(text, path)
        lock["stages"] = {name: lock["stages"][name] for name in ordered(lock["stages"])}
        write_text(path, dumps_yaml(lock))


def _stages(repo: Repo) -> list[Stage]:
    graph = repo.index.graph
    stages: dict[str, Stage] = {}
    # Edges point upstream, so in postorder each stage follows the stages that it needs.
    for node in filter(partial(_has_command, repo), nx.dfs_postorder_nodes(graph)):
        upstream = sorted(stage.name for stage in graph.successors(node) if _has_command(repo, stage))
        changed = any(stages[name].changed for name in upstream)
        # DVC would refuse to look at what a running stage writes, and its status is then that it is not up to
        # date.
        status = inspect.unwrap(type(node).status)(node)
        stages[node.name] = Stage(
            name=node.name,
            desc=node.desc or "",
            upstream=tuple(upstream),
            changed=changed or bool(status),
            place=len(stages),
            edited=_edited(status),
        )
    # With few workers the longest chain decides how long a run takes. sorted() is stable, and a stage has a
    # larger depth than every stage downstream of it.
    depths = _depths(stages)
    return sorted(stages.values(), key=lambda stage: -depths[stage.name])


def _edited(status: Mapping[str, Sequence[Any]]) -> tuple[str, ...]:
    """The outputs that DVC finds modified, where it finds nothing else: a stage that was killed has written a
    part of its outputs, and its entry in dvc.lock is older than its inputs."""
    reasons = [reason for found in status.values() for reason in found]
    if len(reasons) != 1 or not isinstance(reasons[0], dict) or list(reasons[0]) != ["changed outs"]:
        return ()
    return tuple(path for path, how in reasons[0]["changed outs"].items() if how == "modified")


def _depths(stages: dict[str, Stage]) -> dict[str, int]:
    """Stage -> number of stages on the longest chain downstream of it; `stages` has upstream stages first."""
    depths = dict.fromkeys(stages, 0)
    for name in reversed(stages):
        for upstream in stages[name].upstream:
            depths[upstream] = max(depths[upstream], depths[name] + 1)
    return depths


def _has_command(repo: Repo, stage: object) -> bool:
    """Whether a node is a stage of the project's dvc.yaml.

    Data that is only tracked (.dvc files) has no command, and a dvc.yaml in a subfolder is another project.
    """
    return isinstance(stage, PipelineStage) and Path(stage.path) == Path(repo.root_dir) / "dvc.yaml"
