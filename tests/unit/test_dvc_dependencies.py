"""The code that dvc.yaml lists for a stage is the code that the stage imports: no file more, no file less."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

REPO = Path(__file__).parents[2]
PACKAGES = ("hpt_core", "pipelines")
DECIDES_NO_BYTE = {
    "hpt_core.child_process": "ends a process with its parent",
    "hpt_core.errors": "classes of exceptions",
    "hpt_core.printable": "control characters in messages",
    "hpt_core.redaction": "secrets in messages",
    "hpt_core.protocols": "types of interfaces, without code",
    "hpt_core.fingerprint": "decides what an interrupted run resumes from, and resuming gives the same bytes",
    "hpt_core.data.progress": "progress bars",
    "hpt_core.rollout.engine_check": "ends a run whose engine samples another policy, and does no more",
    "pipelines.messages": "secrets and control characters in log records and tracebacks",
    "pipelines.params": "reads params.yaml; its keys are the parameters of the stages, their defaults are "
    "in hpt_core.config",
    "pipelines.paths": "names of files, which dvc.yaml gives as dependencies and outputs",
    "pipelines.stage.launch": "logging, exit status and timings of a process",
    "pipelines.stage.progress": "progress bars",
    "pipelines.stage.raw_files": "warnings about files outside of raw/",
    "pipelines.stage.shards": "keeps rows until the outputs are written and returns them unchanged",
    "pipelines.tracking": "reports to MLflow",
}
"""Module or package -> why no byte of an output depends on it."""
REPORTS_ONLY = ("pipelines.tracking",)
"""These return nothing to a stage, so what they import decides no byte either."""
LISTED_WITH_ITS_FOLDER = {
    "hpt_core/data/reading/gold_answers.py": "`hpt verify` alone uses it; the other files read sources",
    "hpt_core/verifier/gold_check.py": "`hpt verify` alone uses it; the other files decide verdicts",
    "pipelines/report/with_run.py": "publishing alone uses it; compare, which would re-run, takes seconds",
    "pipelines/report/summary.py": "`hpt summary` alone uses it; compare, which would re-run, takes seconds",
}
"""File of a listed folder that no stage imports -> why the folder is listed all the same."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Imports of both packages, those inside of functions too."""
    return grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)


def stages() -> dict[str, dict[str, Any]]:
    entries = YAML(typ="safe").load(REPO / "dvc.yaml")["stages"]
    return {name: entry.get("do", entry) for name, entry in entries.items()}


def under(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def parents(module: str) -> list[str]:
    """Packages around a module: Python runs their __init__.py first."""
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def imported_modules(graph: grimp.ImportGraph, entry_point: str) -> set[str]:
    """All that running `entry_point` may import."""
    found: set[str] = set()
    pending = [entry_point]
    while pending:
        module = pending.pop()
        if module in found:
            continue
        found.add(module)
        if not under(module, REPORTS_ONLY):
            pending += [*parents(module), *graph.find_modules_directly_imported_by(module)]
    return found


def source_file(module: str) -> Path:
    path = REPO / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def deciding_files(graph: grimp.ImportGraph, entry_point: str) -> set[str]:
    """The files with code that `entry_point` imports and that may decide a byte of its outputs."""
    files = {
        source_file(module)
        for module in imported_modules(graph, entry_point)
        if not under(module, DECIDES_NO_BYTE)
    }
    return {str(file.relative_to(REPO)) for file in files if file.stat().st_size}


def listed_files(entry: dict[str, Any]) -> set[str]:
    """The files with code among a stage's dependencies and in the folders among them."""
    paths = [REPO / dep for dep in entry["deps"] if dep.startswith(PACKAGES)]
    assert all(path.exists() for path in paths), [str(path) for path in paths if not path.exists()]
    files = {file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))}
    return {str(file.relative_to(REPO)) for file in files if file.stat().st_size}


@pytest.mark.parametrize("name", stages())
def test_a_stage_lists_the_code_that_it_imports(graph: grimp.ImportGraph, name: str) -> None:
    entry = stages()[name]
    python, option, entry_point, *_ = entry["cmd"].split()
    assert (python, option) == ("python", "-m")
    imported, listed = deciding_files(graph, entry_point), listed_files(entry)
    assert sorted(imported - listed) == [], "imported, and missing among the dependencies in dvc.yaml"
    unused = listed - imported - LISTED_WITH_ITS_FOLDER.keys()
    assert sorted(unused) == [], "among the dependencies in dvc.yaml, and not imported"


@pytest.mark.parametrize("name", stages())
def test_dependencies_are_sorted_and_listed_once(name: str) -> None:
    code = [Path(dep) for dep in stages()[name]["deps"] if dep.startswith(PACKAGES)]
    assert code == sorted(set(code))
    assert not [dep for dep in code for other in code if other in dep.parents]


def test_every_exception_is_needed(graph: grimp.ImportGraph) -> None:
    entry_points = {entry["cmd"].split()[2] for entry in stages().values()}
    imported = {module for entry in entry_points for module in imported_modules(graph, entry)}
    unneeded = [package for package in DECIDES_NO_BYTE if not any(under(m, (package,)) for m in imported)]
    assert unneeded == []
    files = {str(source_file(module).relative_to(REPO)) for module in imported}
    assert LISTED_WITH_ITS_FOLDER.keys() & files == set()
