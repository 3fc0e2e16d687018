"""Each import contract of pyproject.toml fails on an import that it forbids, and no other contract does."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
PACKAGES = ("hpt_core", "pipelines")
CONTRACTS = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LINT = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
FORBIDDEN = {
    "library-without-orchestration": ("hpt_core/gate.py", "import mlflow"),
    "hpt-core-layers": ("hpt_core/policy/module.py", "import hpt_core.trainer.loop"),
    "data-without-policy": ("hpt_core/data/problems.py", "import hpt_core.policy.chat"),
    "data-layers": ("hpt_core/data/curation/dedup.py", "import hpt_core.data.demonstrations.teacher"),
    "rollout-layers": ("hpt_core/rollout/engines/hf.py", "import hpt_core.rollout.group"),
    "pipelines-layers": ("pipelines/params/schema.py", "import pipelines.stage.launch"),
    "prefect-in-flow": ("pipelines/train.py", "import prefect"),
    "mlflow-in-tracking": ("pipelines/evaluate.py", "import mlflow"),
    "boto3-in-inbox-and-stack": ("pipelines/evaluate.py", "import boto3"),
}
"""Contract -> a file, and an import that only this contract forbids there."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages and of the contracts."""
    root = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(REPO / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "pyproject.toml", root)
    return root


def broken_contracts(project: Path) -> set[str]:
    """Ids of the contracts that import-linter reports as broken."""
    lint = subprocess.run([sys.executable, "-c", LINT], cwd=project, capture_output=True, text=True)
    assert "Contracts: " in lint.stdout, lint.stdout + lint.stderr
    names = set(re.findall(r"^(.+) BROKEN", lint.stdout, re.MULTILINE))
    ids = {contract["id"] for contract in CONTRACTS if contract["name"] in names}
    assert (len(names), bool(names)) == (len(ids), lint.returncode != 0), lint.stdout
    return ids


def test_the_code_keeps_every_contract(project: Path) -> None:
    assert broken_contracts(project) == set()


@pytest.mark.parametrize("contract", [contract["id"] for contract in CONTRACTS])
def test_a_forbidden_import_breaks_its_contract(project: Path, contract: str) -> None:
    name, statement = FORBIDDEN[contract]
    file = project / name
    original = file.read_text()
    file.write_text(f"{original}\n{statement}\n")
    try:
        assert broken_contracts(project) == {contract}
    finally:
        file.write_text(original)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_that_no_layer_names_breaks_the_layers(project: Path, package: str) -> None:
    """The layers are exhaustive, so every package and module has its place in them."""
    new = project / package / "unplaced"
    new.mkdir()
    (new / "__init__.py").touch()
    try:
        assert broken_contracts(project) == {f"{package.replace('_', '-')}-layers"}
    finally:
        shutil.rmtree(new)
