"""Documents name files, modules, settings and commands that exist, and they keep to their length."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from ruamel.yaml import YAML

from hpt_core.upge import ALGORITHMS
from pipelines.cli.main import app
from pipelines.paths import recipe_names

REPO = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path.relative_to(REPO)
    for pattern in ("*.md", "docs/*.md", "infra/*.md", "tests/*.md")
    for path in REPO.glob(pattern)
)
PACKAGES = ("hpt_core", "pipelines")
TRACKED = (*PACKAGES, "tests", "docs", "infra", "conf", ".github")
"""Folders of the repository. Others, such as data/, hold what stages and users write."""
PLACEHOLDERS = {"pipelines/NAME.py", "pipelines.NAME", "conf/recipe/NAME.yaml"}
MISSING = {"stack"}
"""Commands of which documents say that they do not exist yet."""


def text_of(path: Path | str) -> str:
    return (REPO / path).read_text(encoding="utf-8")


def quoted(document: Path) -> Iterator[str]:
    """Texts in single backticks, outside of code blocks."""
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text_of(document), flags=re.DOTALL))


def named_paths(document: Path) -> set[str]:
    """Quoted paths of files and folders of the repository; * is a wildcard."""
    paths = {text for text in quoted(document) if re.fullmatch(r"[\w.-]+/[\w./*-]*", text)}
    return {path.rstrip("/") for path in paths if path.split("/")[0] in TRACKED} - PLACEHOLDERS


def named_modules(document: Path) -> set[str]:
    """Quoted modules, and modules after `python -m` wherever they stand."""
    names = {text for text in quoted(document) if re.fullmatch(r"(hpt_core|pipelines|tests)(\.\w+)+", text)}
    return (
        names | set(re.findall(r"python -m ((?:pipelines|tests)[\w.]*)", text_of(document)))
    ) - PLACEHOLDERS


def module_exists(name: str) -> bool:
    """Whether `name` is a module, or a name that the file of a module contains."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        source = REPO.joinpath(*parts[:end])
        file = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
        if file.is_file():
            return all(re.search(rf"\b{part}\b", file.read_text(encoding="utf-8")) for part in parts[end:])
    return False


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text_of(document), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_paths_exist(document: Path) -> None:
    assert sorted(path for path in named_paths(document) if not list(REPO.glob(path))) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_modules_exist(document: Path) -> None:
    assert sorted(name for name in named_modules(document) if not module_exists(name)) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (REPO / document.parent / path).resolve() if path else REPO / document
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target.relative_to(REPO)), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_commands_exist(document: Path) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = re.findall(r"(?:`|\.venv/bin/|^ {4})hpt ([a-z]+)", text_of(document), flags=re.MULTILINE)
    assert sorted(set(named) - commands.keys() - MISSING) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_make_targets_exist(document: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", text_of("Makefile"), flags=re.MULTILINE)
    named = re.findall(r"(?:`|^ {4})make ([a-z-]+)", text_of(document), flags=re.MULTILINE)
    assert sorted(set(named) - set(targets)) == []


def test_the_readme_is_short_and_names_every_stage_and_document() -> None:
    readme = text_of("README.md")
    assert len(readme.splitlines()) <= 150
    stages = YAML(typ="safe").load(text_of("dvc.yaml"))["stages"]
    assert [name for name in stages if name not in readme] == []
    assert [path.name for path in REPO.glob("docs/*.md") if f"docs/{path.name}" not in readme] == []


def test_the_glossary_has_at_most_thirty_lines() -> None:
    glossary = text_of("CONTRIBUTING.md").partition("## Glossary")[2].partition("\n## ")[0]
    assert len(re.findall(r"^\| (?!word \|)", glossary, flags=re.MULTILINE)) <= 30


def test_every_method_has_a_row_and_every_recipe_is_described() -> None:
    algorithms, configuration = text_of("docs/algorithms.md"), text_of("docs/configuration.md")
    assert [name for name in ALGORITHMS if f"\n| `{name}` |" not in algorithms] == []
    assert [name for name in recipe_names(REPO) if f"`{name}`" not in configuration] == []


def test_every_package_is_a_room_of_the_architecture() -> None:
    architecture = text_of("docs/architecture.md")
    rooms = [
        f"{name}/{path.parent.name}" for name in PACKAGES for path in (REPO / name).glob("*/__init__.py")
    ]
    assert len(rooms) > 10
    assert [room for room in rooms if f"`{room}`" not in architecture] == []


def test_no_folder_holds_more_than_twenty_python_files() -> None:
    files = [path for name in (*PACKAGES, "tests") for path in (REPO / name).rglob("*.py")]
    folders = {path.parent: len(list(path.parent.glob("*.py"))) for path in files}
    assert {str(folder.relative_to(REPO)): n for folder, n in folders.items() if n > 20} == {}


def test_test_files_have_names_of_their_own() -> None:
    """pytest imports a file of a folder that is no package by its bare name, and stops at a second one."""
    files = [
        path for path in (REPO / "tests").rglob("test_*.py") if not (path.parent / "__init__.py").exists()
    ]
    assert {name for name, n in Counter(path.name for path in files).items() if n > 1} == set()
