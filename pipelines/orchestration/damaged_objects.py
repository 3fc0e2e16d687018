"""Outputs that DVC took from a damaged object of its cache.

DVC trusts an object that nobody may write, but a disk may lose a bit. DVC then takes such an object for
an output that it restores, and for one that a stage has just written with these contents.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from dvc.repo import Repo, lock_repo
from dvc_data.hashfile.hash import file_md5
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree
from dvc_objects.fs.local import localfs
from ruamel.yaml import YAML


def remove_damaged(root: Path, stage: str) -> int:
    """Number of files of the stage's outputs whose bytes are not those that dvc.lock names.

    The objects that they came from and the outputs that hold them are removed, so that the stage is repeated.
    """
    with Repo(str(root), _wait_for_lock=True) as repo:
        with lock_repo(repo):  # DVC writes the file in place.
            text = (root / "dvc.lock").read_text(encoding="utf-8")
        outs = YAML(typ="safe").load(text)["stages"].get(stage, {}).get("outs", [])
        cache, damaged = repo.cache.local, 0
        for out in outs:
            path = root / out["path"]
            files = [(path, out["md5"])] if path.is_file() else list(_files(path, out["md5"], cache))
            wrong = [name for file, name in files if file_md5(str(file), localfs) != name]
            for name in wrong:
                Path(cache.oid_to_path(name)).unlink(missing_ok=True)
            if wrong:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            damaged += len(wrong)
        return damaged


def _files(folder: Path, name: str, cache: object) -> Iterator[tuple[Path, str]]:
    """The files of a folder, each with the hash that the object `name` has for it."""
    for key, _, content in Tree.load(cache, HashInfo("md5", name)):
        yield folder.joinpath(*key), str(content.value)
