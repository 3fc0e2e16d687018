"""Removal of the outputs of arms that params.yaml no longer has.

They would otherwise be part of the folders that `compare` depends on. A folder of the user may stand beside
them, so only what can be brought back is removed: dvc.lock, of now or of any commit, has these very bytes
under this very path, and DVC's cache or its default remote has every file of them.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dvc.repo import Repo, lock_repo
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.hash import file_md5
from dvc_data.hashfile.tree import Tree
from dvc_objects.fs.local import localfs
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipelines import paths

OUTPUTS_PER_ARM = (
    paths.model("*"),
    paths.demonstrations("*"),
    paths.coverage("*"),
    paths.rollouts("*"),
    paths.evaluation_responses("*"),
    paths.evaluation_metrics("*"),
    paths.training_metrics("*"),
)
"""Patterns of the outputs that are named after an arm, in folders that all arms share."""
LOCK = "dvc.lock"


@dataclass(frozen=True)
class StaleOutputs:
    """What became of the files and folders that belong to no arm of params.yaml."""

    removed: list[Path] = field(default_factory=list)
    kept: dict[Path, str] = field(default_factory=dict)
    """Path, relative to the project -> why it was left alone."""


def remove_stale_outputs(root: Path, arms: Collection[str]) -> StaleOutputs:
    """Remove the outputs of arms that params.yaml no longer has; all else is left alone and named."""
    policies = {*paths.RESERVED_NAMES, *arms}
    found = [path for pattern in OUTPUTS_PER_ARM for path in sorted(root.glob(str(pattern)))]
    strangers = [path for path in found if path.stem not in policies and not path.name.startswith(".")]
    stale = StaleOutputs()
    if not strangers:
        return stale
    with Repo(str(root), _wait_for_lock=True) as repo, lock_repo(repo):
        for path in strangers:
            relative = path.relative_to(root)
            if reason := _why_irreplaceable(repo, root, relative):
                stale.kept[relative] = reason
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
            stale.removed.append(relative)
    return stale


def _why_irreplaceable(repo: Repo, root: Path, path: Path) -> str | None:
    """Why `path` could not be brought back after its removal; None if it could."""
    cache = repo.cache.local
    try:
        # Without DVC's ignore rules: a file that they hide would be removed with the folder as well.
        _, _, content = build(cache, str(root / path), localfs, "md5", dry_run=True)
    except OSError as error:
        return f"it cannot be read ({error})"
    digest = str(content.hash_info.value)
    if not any(path.as_posix() in _recorded(text, digest) for text in _lock_files(root, digest)):
        return f"{LOCK} has never had these contents"
    files = {str(entry.value) for _, _, entry in content} if isinstance(content, Tree) else {digest}
    missing = {name for name in files if not _intact(cache, name)}
    if missing and (reason := _missing_in_remote(repo, missing)):
        return f"{len(missing)} of its {len(files)} files are not in DVC's cache, and {reason}"
    return None


def _recorded(lock: str, digest: str) -> set[str]:
    """The paths of the outputs that the text of a dvc.lock has with this hash."""
    try:
        stages = (YAML(typ="safe").load(lock) or {}).get("stages", {})
    except YAMLError:
        return set()
    outs = (out for entry in stages.values() for out in entry.get("outs", []))
    return {out["path"] for out in outs if out.get("md5") == digest}


def _lock_files(root: Path, digest: str) -> Iterator[str]:
    """The text of dvc.lock, then of each commit that brought `digest` into it or had it last."""
    if (root / LOCK).is_file():
        yield (root / LOCK).read_text(encoding="utf-8")
    for commit in git(root, "log", "--all", "--format=%H %P", f"-S{digest}", "--", LOCK).split():
        yield git(root, "show", f"{commit}:./{LOCK}")


def git(root: Path, *arguments: str) -> str:
    """What `git ARGUMENTS` prints; nothing where there is no git, no repository or no such object."""
    try:
        return subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, stdin=subprocess.DEVNULL
        ).stdout
    except FileNotFoundError:
        return ""


def _intact(cache: HashFileDB, name: str) -> bool:
    """Whether the cache has the object, with the contents that its name says."""
    path = cache.oid_to_path(name)
    return Path(path).is_file() and file_md5(path, localfs) == name


def _missing_in_remote(repo: Repo, names: Collection[str]) -> str | None:
    """Why the default remote cannot give these objects; None if it can."""
    try:
        remote = repo.cloud.get_remote_odb()
        absent = [name for name in names if not remote.exists(name)]
    # Each kind of remote has its own errors, and every one of them means that the copy is not proven.
    except Exception as error:
        return f"DVC's remote cannot be asked ({type(error).__name__})"
    return f"DVC's remote lacks {len(absent)} of them" if absent else None
