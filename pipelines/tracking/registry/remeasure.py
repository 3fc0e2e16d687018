"""A champion is evaluated again with the present settings, from the weights that DVC keeps of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from dvc_data.hashfile import load
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree
from dvc_objects.errors import ObjectFormatError

from hpt_core.errors import InputError
from hpt_core.files import read_json
from pipelines import paths
from pipelines.tracking.evaluation_data import Measurement, read_scores, read_settings

LAST_LINES = 3
"""Lines of a failed evaluation that the reason repeats."""


def remeasure(root: Path, version: str, weights: str) -> Measurement:
    """The scores of a registered version under the present params.yaml; takes as long as its evaluation.

    weights: the DVC hash of its model folder. Raises InputError where DVC has the weights no more, or where
    the evaluation fails.
    """
    folder = root / paths.checkpoints("champion") / f"v{version}"
    restore(root, weights, folder / "model")
    # In a process of its own, since it holds an engine, and since publishing loads no model.
    command = [sys.executable, "-m", "pipelines.evaluate", str(folder / "model"), str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise InputError(" / ".join(done.stderr.strip().splitlines()[-LAST_LINES:]))
    measured = Measurement(
        read_scores(folder / "responses.parquet"), read_settings(read_json(folder / "metrics.json"))
    )
    shutil.rmtree(folder)
    return measured


def restore(root: Path, weights: str, target: Path) -> None:
    """Write the folder of this DVC hash to `target`, from DVC's cache or else from its remote.

    Raises InputError where neither has it.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    if not weights.endswith(".dir"):
        raise InputError(f"its tag `dvc.model` names no folder of DVC ({weights})")
    info = HashInfo("md5", weights)
    with Repo(str(root)) as repo:
        cache = repo.cache.local
        try:
            if not _is_complete(cache, info):
                repo.cloud.pull([info])
            for name, md5 in _files(cache, info).items():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(cache.oid_to_path(md5), target / name)
        except (DvcException, ObjectFormatError, OSError) as error:
            raise InputError(f"neither DVC's cache nor its remote has its weights ({weights})") from error


def _is_complete(cache: HashFileDB, folder: HashInfo) -> bool:
    """Whether DVC's cache has the folder of this hash and all of its files."""
    if folder.value is None or not cache.exists(folder.value):
        return False
    return all(cache.exists(md5) for md5 in _files(cache, folder).values())


def _files(cache: HashFileDB, folder: HashInfo) -> dict[str, str]:
    """Path within the folder -> md5."""
    tree = load(cache, folder)
    assert isinstance(tree, Tree), "a model is a folder"
    return {"/".join(key): str(entry.value) for key, _, entry in tree}
