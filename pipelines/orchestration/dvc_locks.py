"""Which processes really hold the paths that DVC has locked, and how those that died are struck from its
list.

DVC locks a repository with flock, which the kernel frees with the process. But it notes the processes that
read and write each path in .dvc/tmp/rwlock by number alone: a number may be that of another process by now,
on this machine or in another container, and a kill in the middle of a write leaves half a file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dvc.lock import make_lock

from hpt_core.errors import InputError

RWLOCK, GUARD = Path(".dvc/tmp/rwlock"), Path(".dvc/tmp/rwlock.lock")
"""The list, and the lock under which DVC edits it."""
POLL = 0.5


def free(root: Path, waiting: Callable[[str], None] | None) -> None:
    """Wait until no process of DVC reads or writes a path of the checkout `root`; strike out those that died.

    waiting: called again and again with the processes that are waited for. Without it, they raise InputError.
    """
    while users := _holders(root):
        names = "; ".join(f"process {process}: {command}" for process, command in users.items())
        if waiting is None:
            raise InputError(f"DVC is in use in this checkout ({names}); wait for it or end it first")
        waiting(names)
        time.sleep(POLL)


def processes(root: Path) -> dict[int, str]:
    """The processes of DVC on this machine that work in the checkout `root`: number -> command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text(errors="replace").split("\0")
            if _is_dvc(words) and (folder / "cwd").resolve() == root.resolve():
                found[int(folder.name)] = " ".join(words).strip()
        except OSError:
            continue  # It has ended, or belongs to somebody else.
    return found


def explain(root: Path) -> str:
    """Why DVC found a path locked, in one line with the remedy."""
    if users := processes(root):
        names = "; ".join(f"process {process}: {command}" for process, command in users.items())
        return f"DVC is in use in this checkout ({names}); wait for it or end it, and run again"
    return "DVC was in use in this checkout and is not any more; run again"


def _is_dvc(words: list[str]) -> bool:
    """Whether a command line is `dvc ...`, `python .../dvc ...` or `python -m dvc ...`."""
    names = [Path(word).name for word in words[:2]]
    return "dvc" in names or ("python" in names[0] and words[1:3] == ["-m", "dvc"])


def _holders(root: Path) -> dict[int, str]:
    """The living processes on DVC's list. All others are struck out."""
    path = root / RWLOCK
    if not path.exists():
        return {}
    with make_lock(str(root / GUARD)):
        try:
            locks = json.loads(path.read_text())
            listed = {entry["pid"] for entry in _entries(locks)}
        except (ValueError, KeyError, TypeError, AttributeError):
            path.unlink()  # Half a file: whoever wrote it was killed, since the guard is free.
            return {}
        living = processes(root)
        if listed - set(living):
            path.write_text(json.dumps(_without(locks, listed - set(living))))
        return {process: living[process] for process in listed & set(living)}


def _entries(locks: dict[str, Any]) -> list[dict[str, Any]]:
    readers = [entry for entries in locks.get("read", {}).values() for entry in entries]
    return readers + list(locks.get("write", {}).values())


def _without(locks: dict[str, Any], dead: set[int]) -> dict[str, Any]:
    """The list without the entries of dead processes."""
    read = {
        path: kept
        for path, entries in locks.get("read", {}).items()
        if (kept := [entry for entry in entries if entry["pid"] not in dead])
    }
    write = {path: entry for path, entry in locks.get("write", {}).items() if entry["pid"] not in dead}
    return {"read": read, "write": write}
