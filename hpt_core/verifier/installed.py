"""Answer kinds of installed packages: functions that are entry points of the group `hpt.verifiers`.

    [project.entry-points."hpt.verifiers"]
    words = "word_verifier:words_in_common"      # answer_kind: words

The function gets the whole response and the reference, and returns a bool, a number from 0 to 1, or a
Verdict. It runs in the grading processes, under their limits. docs/verifier.md has an example.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from numbers import Real
from pathlib import Path
from typing import TypedDict

from hpt_core.errors import InputError, VerifierError, one_line
from hpt_core.types import Verdict

GROUP = "hpt.verifiers"
IMPORT_LIMIT_S = 60
"""Seconds that the import of a package may take. It does not count as time of the first answer."""
IMPORT_TOOK_TOO_LONG = 75
"""Exit status of a process whose import took longer."""

_CONFINED = "it has no network and writes no file, unless verifier.sandbox is false"

Function = Callable[[str, str], object]
"""(response, gold) -> a bool, a number from 0 to 1, or a Verdict."""

_LOAD = (
    "import sys; sys.path[:] = {path!r}; "
    "from hpt_core.verifier.installed import load_or_exit; load_or_exit({kind!r})"
)


@dataclass(frozen=True)
class Credit:
    """What a function of a package is: its kind, its package, and how messages call it."""

    kind: str
    package: str
    version: str

    def __str__(self) -> str:
        return f"answer kind {self.kind!r} of {self.package} {self.version}"


class Version(TypedDict):
    """What identifies the verifier of a kind: its package, the package's version, and a hash of its code."""

    package: str
    version: str
    code: str


def names() -> dict[str, str]:
    """Kind -> the packages that bring it, with their versions, for messages."""
    return {kind: _packages(points) for kind, points in sorted(_entry_points().items())}


def has(kind: str) -> bool:
    """Whether an installed package brings `kind`."""
    return kind in _entry_points()


def check(kind: str) -> None:
    """Raise InputError, naming kind, package and cause, unless the function of `kind` can be loaded.

    It is imported in a process of its own, because the import of a package may hang or crash.
    """
    fault = _load_elsewhere(kind, tuple(sys.path))
    if fault:
        raise InputError(fault)


def version(kind: str) -> Version:
    """The package of `kind`, its version, and a hash of its code, which may change within a version."""
    point = _entry_point(kind)
    owner = _owner(point)
    return {"package": owner.package, "version": owner.version, "code": _code_hash(point.module)}


def grade(response: str, gold: str, kind: str) -> Verdict:
    """The verdict of the package's function. May take for ever.

    Raises InputError where the function cannot be loaded, and VerifierError where it fails or returns what is
    no verdict; its own VerifierError, as for a reference that it cannot read, is passed on.
    """
    function, owner = load(kind)
    try:
        value = function(response, gold)
    except (VerifierError, MemoryError, RecursionError):
        raise
    except PermissionError as error:
        raise VerifierError(f"{owner} failed with {one_line(error)}; {_CONFINED}") from error
    except Exception as error:
        raise VerifierError(f"{owner} failed with {one_line(error)}") from error
    return _verdict(value, owner)


def load(kind: str) -> tuple[Function, Credit]:
    """The function of `kind` and whose it is. Raises InputError that names package and cause."""
    loaded = _loaded(kind)
    if isinstance(loaded, str):
        raise InputError(loaded)
    return loaded


@lru_cache(maxsize=64)
def _loaded(kind: str) -> tuple[Function, Credit] | str:
    """The function and whose it is, or why it cannot be had: an import that fails is not tried again."""
    point = _entry_point(kind)
    owner = _owner(point)
    try:
        function = point.load()
    # A package that is imported may raise anything; a lack of memory here is no fault of a response.
    except Exception as error:
        cause = f"cannot be imported from {point.value!r}: {one_line(error)}"
        if isinstance(error, PermissionError):
            cause += f" ({_CONFINED})"
        return f"{owner} {cause}; correct or reinstall the package"
    if fault := _signature_fault(function):
        return f"{owner}: {point.value} {fault}; it is called with (response, gold), two texts"
    return function, owner


@contextmanager
def import_limit() -> Iterator[None]:
    """End the process with IMPORT_TOOK_TOO_LONG if the block, an import, takes over IMPORT_LIMIT_S."""
    before = signal.signal(signal.SIGALRM, lambda number, frame: os._exit(IMPORT_TOOK_TOO_LONG))
    signal.setitimer(signal.ITIMER_REAL, IMPORT_LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def load_or_exit(kind: str) -> None:
    """Load the function of `kind`; if that fails, end the process, the reason as the last line of stderr."""
    try:
        load(kind)
    except InputError as error:
        sys.exit(str(error))


@lru_cache(maxsize=64)
def _load_elsewhere(kind: str, path: tuple[str, ...]) -> str | None:
    """Why the function of `kind` cannot be loaded; None if it can."""
    point = _entry_point(kind)
    command = [sys.executable, "-W", "ignore", "-c", _LOAD.format(path=list(path), kind=kind)]
    try:
        process = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=IMPORT_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{_owner(point)} cannot be imported: the import took over {IMPORT_LIMIT_S} s"
    if process.returncode == 0:
        return None
    said = process.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    if process.returncode == 1 and said.startswith("answer kind"):
        return said
    return (
        f"{_owner(point)} cannot be imported: the process ended with exit code {process.returncode}; {said}"
    )


def _entry_points() -> dict[str, tuple[EntryPoint, ...]]:
    return _entry_points_on(tuple(sys.path))


@lru_cache(maxsize=4)
def _entry_points_on(path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    """Name -> entry points of that name, of all packages on `path`, which is sys.path."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUP):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def _entry_point(kind: str) -> EntryPoint:
    points = _entry_points()[kind]
    if len(points) > 1:
        raise InputError(f"answer kind {kind!r}: {_packages(points)} all bring it; uninstall all but one")
    return points[0]


def _owner(point: EntryPoint) -> Credit:
    assert point.dist is not None, "entry_points() reads them from distributions"
    return Credit(point.name, point.dist.name, point.dist.version)


def _packages(points: tuple[EntryPoint, ...]) -> str:
    return " and ".join(f"{owner.package} {owner.version}" for owner in map(_owner, points))


def _signature_fault(function: object) -> str | None:
    if not callable(function):
        return f"is a {type(function).__name__} and no function"
    try:
        inspect.signature(function).bind("", "")
    except TypeError as error:
        return f"does not take two arguments ({error})"
    except ValueError:
        pass  # Some functions written in C tell no signature.
    return None


def _verdict(value: object, owner: Credit) -> Verdict:
    if isinstance(value, Verdict):
        return value if value.score is None else _with_score(value.extracted, value.score, owner)
    if hasattr(value, "item"):  # a scalar of numpy or torch
        value = value.item()
    if isinstance(value, bool):
        return Verdict(value, None)
    if isinstance(value, Real):
        return _with_score(None, float(value), owner)
    raise VerifierError(
        f"{owner} returned {repr(value)[:80]}; return a bool, a number from 0 to 1, or a Verdict"
    )


def _with_score(extracted: str | None, score: float, owner: Credit) -> Verdict:
    # NaN is in no interval.
    if not 0.0 <= score <= 1.0:
        raise VerifierError(f"{owner} returned the score {score:g}; return a number from 0 to 1")
    return Verdict(score == 1.0, extracted, score=score)


def _code_hash(module: str) -> str:
    """16 hex digits of the Python files of the top package of `module`, which is not imported for it."""
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return ""  # `check` says that it cannot be imported.
    folders = map(Path, spec.submodule_search_locations or ())
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    if spec.has_location and spec.origin and not files:
        files = [Path(spec.origin)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
