"""What several commands share: the project's folder, the types of their options, examples in their help."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpt_core.errors import InputError
from hpt_core.printable import printable

ROOT = Path(".")
"""Commands run in the project's folder, as those of git and DVC do."""


def checkout() -> Path:
    """The project's folder. Raises InputError in any other."""
    if not (ROOT / "dvc.yaml").exists():
        raise InputError(
            f"{ROOT.resolve()} is no checkout of the project (no dvc.yaml); change to its folder"
        )
    _warn_of_other_code()
    return ROOT


def _warn_of_other_code() -> None:
    """A checkout that was moved or copied with its environment runs the code of the old place in part."""
    here, installed = ROOT.resolve() / "pipelines", Path(__file__).parents[1]
    if here.is_dir() and here != installed.resolve():
        print(
            f"hpt: this command is the code in {installed.parent}, and the stages are that in {here.parent}; "
            "install this checkout: remove .venv/.run and call make run",
            file=sys.stderr,
        )


def positive(value: str | int) -> int:
    """Parse a whole number above 0. Typer passes defaults through its parsers too, as numbers."""
    text = str(value)
    if not text.isdecimal() or int(text) == 0:
        raise typer.BadParameter(f"{text!r} is not a whole number above 0")
    return int(text)


def port(value: str | int) -> int:
    """Parse a TCP port."""
    text = str(value)
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise typer.BadParameter(f"{text!r} is not a port; give one from 1 to 65535")
    return int(text)


def version(text: str) -> int:
    """Parse the version of a registered model, as MLflow shows it (`Version 3`) and as `hpt` does (`v3`)."""
    return positive(text.removeprefix("v"))


def echo(text: str) -> None:
    """Print a line that holds text of models or strangers, which must not command the terminal."""
    print(printable(text))


Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="key=value", help="Set a key of params.yaml, in Hydra's grammar."),
]
StageWorkers = Annotated[
    int,
    typer.Option("--workers", parser=positive, envvar="HPT_WORKERS", help="Stages that run side by side."),
]


def examples(*lines: str) -> str:
    """Epilog of a command's help. The mark at its beginning keeps the lines from being wrapped."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
