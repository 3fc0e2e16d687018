"""Which processes of this machine run, and which belong to a test (Linux)."""

from __future__ import annotations

from pathlib import Path

MARK = "MARK_OF_TEST"
"""Variable by which the processes of a test are found, whatever became of their parents."""


def is_running(pid: int) -> bool:
    """Whether the process has not ended; one that its parent has not yet collected has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def marked(value: str) -> dict[int, str]:
    """Process -> its command line, of those in whose environment MARK has this value."""
    mark, found = f"{MARK}={value}".encode(), {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # It has ended.
    return found
