"""`hpt stack`: PostgreSQL, S3, MLflow, Prefect and a worker on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.parameters import ROOT, examples

# Commands import what they need when they run, so that `hpt --help` is instant.
app = typer.Typer()
stack = typer.Typer(
    help="Run PostgreSQL, S3, MLflow, Prefect and a worker here.",
    epilog=examples("hpt stack up", "hpt stack status"),
)
app.add_typer(stack, name="stack")


@stack.command()
def up() -> None:
    """Start what does not run; return when all servers are healthy."""
    from pipelines.stack import control

    rows = control.up(ROOT, lambda line: print(line, flush=True))
    for row in rows:
        print(f"{row.title:<16} {row.address}")
    print(
        "User and passwords: .stack/env. `hpt run` finds the servers by itself; to end them: hpt stack down"
    )


@app.command(
    epilog=examples(
        "hpt remote s3://our-bucket/hpt  S3, at AWS_ENDPOINT_URL if it is set",
        "hpt remote /mnt/shared/hpt      a folder that all machines have",
    )
)
def remote(
    url: Annotated[str, typer.Argument(metavar="URL", help="A URL that DVC knows, without credentials.")],
) -> None:
    """Make URL the DVC remote of everyone who clones the project."""
    from pipelines.stack.remote import share

    for note in share(ROOT, url):
        print(note)


@stack.command()
def down() -> None:
    """End every process of the stack; data and passwords stay."""
    from pipelines.stack import control

    count = control.down(ROOT)
    print(f"{count} servers ended" if count else "nothing was running")


@stack.command()
def status() -> None:
    """Show each server with its health; exit status 1 unless all are healthy."""
    from datetime import datetime

    from pipelines.stack import control, definition

    rows = control.rows(definition.load(ROOT))
    lines = [("server", "address", "pid", "since", "health")]
    for row in rows:
        since = f"{datetime.fromtimestamp(row.since):%Y-%m-%d %H:%M:%S}" if row.since else "-"
        lines.append((row.title, row.address, str(row.pid or "-"), since, row.failure or "healthy"))
    for line in lines:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, (16, 22, 7, 19, 0), strict=True)))
    if any(row.failure for row in rows):
        raise typer.Exit(1)


@stack.command(epilog=examples("hpt stack backup /mnt/backup/hpt"))
def backup(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Objects that it has already are not copied.")
    ],
) -> None:
    """Copy the databases and the objects of S3 into a folder."""
    from pipelines.stack.backup import back_up

    back_up(ROOT, folder, print)


@stack.command(epilog=examples("hpt stack restore /mnt/backup/hpt"))
def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of `hpt stack backup`.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the databases are replaced.")] = False,
) -> None:
    """Replace the databases by those of a backup, and put its objects back."""
    from pipelines.stack.backup import restore

    if not yes:
        typer.confirm("Replace the tables of MLflow and Prefect by those of the backup?", abort=True)
    restore(ROOT, folder, print)


@stack.command()
def secrets() -> None:
    """Make passwords and keys, unless they are there, and the files that infra/compose.yaml reads."""
    from pipelines.stack import definition
    from pipelines.stack.servers import write_for_containers

    for path in write_for_containers(definition.load(ROOT)):
        print(path)


@stack.command()
def rotate() -> None:
    """Make new passwords and keys for every server, and start the servers again with them."""
    from pipelines.stack import control

    control.rotate(ROOT, print)
    print("new passwords and keys are in force; .stack/env has those of clients")


@stack.command(
    epilog=examples("hpt stack logs mlflow          the log of one server", "hpt stack logs -n 200")
)
def logs(
    server: Annotated[
        str | None,
        typer.Argument(metavar="SERVER", help="postgres, s3, prefect, mlflow, worker or supervisor"),
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", help="Lines of each log.")] = 20,
) -> None:
    """Show the end of the servers' logs, which are in .stack/logs."""
    from pipelines.stack import control

    for path in control.log_files(ROOT, server):
        print(f"==> {path}")
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]:
            print(line)
