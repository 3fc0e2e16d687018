"""`hpt stack`: PostgreSQL, S3, MLflow, Prefect and a worker on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.parameters import ROOT, examples

# Commands import what they need when they run, so that `hpt --help` is instant.
app = typer.Typer()
stack = typer.Typer(help="The real servers on this machine: PostgreSQL, S3, MLflow, Prefect and a worker.")
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

    from rich.console import Console
    from rich.table import Table

    from pipelines.stack import control, definition

    table = Table("server", "address", "health", "pid", "since")
    rows = control.rows(definition.load(ROOT))
    for row in rows:
        since = f"{datetime.fromtimestamp(row.since):%Y-%m-%d %H:%M:%S}" if row.since else ""
        table.add_row(row.title, row.address, row.failure or "healthy", str(row.pid or ""), since)
    Console().print(table)
    if any(row.failure for row in rows):
        raise typer.Exit(1)


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
