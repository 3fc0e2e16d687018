"""The DAG of dvc.yaml, as DVC itself resolves it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import networkx as nx
from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo
from dvc.stage import PipelineStage

from hpt_core.errors import InputError

logger = logging.getLogger(__name__)

PER_ARM = (
    "models/*",
    "data/rollouts/*",
    "data/eval/*.parquet",
    "metrics/eval/*.json",
    "metrics/train/*.jsonl",
)
"""Outputs that carry an arm's name, in folders that they share."""


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml; a `foreach` gives one for each key, named `stage@key`."""

    name: str
    desc: str
    upstream: tuple[str, ...]
    changed: bool
    """Out of date, or below a stage that is: running it may do something."""


def load_stages(root: Path) -> list[Stage]:
    """The stages in an order in which they can run, those that most others wait for first.

    Raises InputError where dvc.yaml or params.yaml cannot be resolved.
    """
    try:
        with Repo(str(root), _wait_for_lock=True) as repo, lock_repo(repo):
            return _stages(repo)
    except DvcException as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise InputError(f"{root / 'dvc.yaml'}: {error}{cause}") from error


def remove_stale_outputs(root: Path, arms: Collection[str]) -> list[Path]:
    """Remove outputs of arms that params.yaml no longer has, and return them.

    They would be part of the folders that `compare` depends on. DVC's cache keeps them.
    """
    known = {"base", "teacher_policy", *arms}
    strangers = [path for pattern in PER_ARM for path in sorted(root.glob(pattern)) if path.stem not in known]
    for path in strangers:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return strangers


def _stages(repo: Repo) -> list[Stage]:
    graph = repo.index.graph
    depth: dict[str, int] = {}
    stages: dict[str, Stage] = {}
    # Edges point upstream, so what a stage needs comes before it.
    for node in filter(partial(_is_task, repo), nx.dfs_postorder_nodes(graph)):
        upstream = sorted(s.name for s in graph.successors(node) if _is_task(repo, s))
        changed = any(stages[name].changed for name in upstream)
        stages[node.name] = Stage(
            name=node.name,
            desc=node.desc or "",
            upstream=tuple(upstream),
            changed=changed or bool(node.status()),
        )
    for name in reversed(stages):
        depth[name] = depth.get(name, 0)
        for up in stages[name].upstream:
            depth[up] = max(depth.get(up, 0), depth[name] + 1)
    # The longest chain first: with few workers it decides how long the whole takes. sorted() is stable,
    # and an upstream stage is always deeper than what waits for it.
    return sorted(stages.values(), key=lambda stage: -depth[stage.name])


def _is_task(repo: Repo, stage: object) -> bool:
    """Data that is only tracked (.dvc files) has no command; a dvc.yaml further down is another project."""
    return isinstance(stage, PipelineStage) and Path(stage.path) == Path(repo.root_dir) / "dvc.yaml"
