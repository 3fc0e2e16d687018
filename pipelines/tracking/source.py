"""Where a run comes from: who started it, and the code that was checked out when it started."""

from __future__ import annotations

import getpass
import hashlib
import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from hpt_core.redaction import without_user
from pipelines import paths
from pipelines.params import MARK
from pipelines.tracking.run_layout import COMMIT_TAG, DIFF_TAG, RECIPE_TAG

FILE = paths.LOGS / "source.json"
NO_GIT = "none"
"""The commit of a folder that is not in git, or whose repository has no commit."""
EXCLUDED = ("--", ".", f":(exclude){paths.DVC_LOCK}", ":(exclude).dvc/.gitignore")
"""The folder without the files that DVC writes in a run: with them, no run would be of a commit."""


@dataclass(frozen=True)
class Source:
    """Person, recipe and code of a run."""

    user: str
    recipe: str
    commit: str
    """The checked-out commit, with `-dirty` where files differ from it or are in no commit; or NO_GIT."""
    diff: str
    """sha256 of all that differs from the commit; empty if nothing does."""
    repository: str
    """Address of the remote `origin`, without user and password, or else the folder."""

    def tags(self) -> dict[str, str]:
        """Tags of an MLflow run; those under mlflow. fill the columns User and Source of its table."""
        remote = "://" in self.repository
        tags = {
            RECIPE_TAG: self.recipe,
            COMMIT_TAG: self.commit,
            "mlflow.user": self.user,
            "mlflow.source.name": self.repository,
            "mlflow.source.type": "PROJECT" if remote else "LOCAL",
        }
        if self.diff:
            tags[DIFF_TAG] = self.diff
        if self.commit != NO_GIT:
            tags["mlflow.source.git.commit"] = self.commit.removesuffix("-dirty")
        return tags


def record_source(root: Path, flow_run: str) -> Source:
    """Keep the present source as that of a flow run that starts now, whatever is edited while it runs."""
    source = present_source(root)
    path = root / FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"flow_run": flow_run, **asdict(source)}), encoding="utf-8")
    return source


def source_of(root: Path, flow_run: str) -> Source:
    """The source that was recorded for a flow run; the present one where none was."""
    try:
        known = json.loads((root / FILE).read_text(encoding="utf-8"))
        if known.pop("flow_run") == flow_run:
            return Source(**known)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    return present_source(root)


def present_source(root: Path) -> Source:
    head = _git(root, "rev-parse", "--verify", "-q", "HEAD").decode().strip()
    diff = _difference(root) if head else ""
    remote = _git(root, "remote", "get-url", "origin").decode().strip()
    user = _git(root, "config", "user.name").decode().strip()
    return Source(
        user=user or _system_user(),
        recipe=recipe(root),
        commit=f"{head}-dirty" if diff else head or NO_GIT,
        diff=diff,
        repository=without_user(remote) if "://" in remote else str(root.resolve()),
    )


def _difference(root: Path) -> str:
    """Hash of the changes to tracked files and of the files that are neither tracked nor ignored."""
    changes = _git(root, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-color", *EXCLUDED)
    listed = _git(root, "ls-files", "-z", "--others", "--exclude-standard", *EXCLUDED).split(b"\0")
    untracked = [root / name.decode(errors="surrogateescape") for name in sorted(listed) if name]
    if not changes and not untracked:
        return ""
    digest = hashlib.sha256(changes)
    for path in untracked:
        if path.is_file():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"\0{path.relative_to(root)}\0{content}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _git(root: Path, *arguments: str) -> bytes:
    """What a git command prints; nothing where it fails, as outside of a repository, or without git."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return b""
    return done.stdout if done.returncode == 0 else b""


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container may run under a number without a name.
        return "unknown"


def recipe(root: Path) -> str:
    """The recipe that params.yaml names in its first line; `custom` where it names none."""
    with (root / paths.PARAMS).open(encoding="utf-8") as file:
        first = file.readline()
    return first.removeprefix(MARK).strip() if first.startswith(MARK) else "custom"
