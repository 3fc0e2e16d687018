"""requirements.lock names every package that an installation brings, at one version and with its hashes."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPO = Path(__file__).parents[2]
LOCK = (REPO / "requirements.lock").read_text()
EXTRAS = ("test", "stack")
UNHASHED = {"torch"}
"""Its CPU build has other hashes than the one on PyPI."""


def locked() -> dict[str, str]:
    """Package -> its version."""
    return {canonicalize_name(name): at for name, at in re.findall(r"^([\w.-]+)==(\S+)", LOCK, re.MULTILINE)}


def test_every_package_has_a_hash_and_no_host_is_named() -> None:
    entries = [entry for entry in re.split(r"\n(?=\S)", LOCK.strip()) if not entry.startswith("#")]
    assert len(entries) == len(locked()) > 200
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:60]
    assert "://" not in LOCK and "--index" not in LOCK and "--find-links" not in LOCK


def test_the_lock_has_all_that_the_project_needs() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [
        each for extra in EXTRAS for each in project["optional-dependencies"][extra]
    ]
    pending, seen = [Requirement(each) for each in wanted], set()
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if name in UNHASHED:
            continue
        assert name in locked(), f"{name} is missing; run `make lock`"
        assert locked()[name] in requirement.specifier, f"{requirement}: {locked()[name]}; run `make lock`"
        if name not in seen:
            seen.add(name)
            with suppress(PackageNotFoundError):  # The servers of the stack may be those of the system.
                pending += [Requirement(each) for each in requires(name) or ()]


def test_it_is_what_constraints_name_and_what_the_tests_run_with() -> None:
    constraints = dict(
        line.split("==") for line in (REPO / "constraints.txt").read_text().splitlines() if "==" in line
    )
    for name, at in constraints.items():
        if canonicalize_name(name) in locked():
            assert locked()[canonicalize_name(name)] == at, name
    for name in ("mlflow", "prefect", "transformers", "safetensors"):
        assert locked()[name] == version(name)
