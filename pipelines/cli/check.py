"""`hpt check`: params.yaml and what it names, before anything is spent."""

from __future__ import annotations

import typer

from pipelines import paths
from pipelines.cli.parameters import ROOT, examples

# The command imports what it needs when it runs, so that `hpt --help` is instant.
app = typer.Typer()


@app.command(epilog=examples("hpt check", "hpt check && hpt run"))
def check() -> None:
    """Check the sources, the models and the teacher before a run.

    Exit status 2 on errors.
    """
    from rich.console import Console
    from rich.text import Text

    from pipelines.orchestration.raw_files import advice
    from pipelines.params import load_params
    from pipelines.report.summary import empty_table
    from pipelines.stage.check import errors
    from pipelines.stage.input_checks import check_inputs

    checks = check_inputs(load_params(ROOT / paths.PARAMS))
    console = Console()
    table = empty_table(None)
    for heading in ("what", "found", "result"):
        table.add_column(heading)
    for row in checks:
        count, colour = (len(row.errors), "red") if row.errors else (len(row.warnings), "yellow")
        noun = "error" if row.errors else "warning"
        result = Text(f"{count} {noun}{'s' * (count != 1)}", colour) if count else Text("ok", "green")
        table.add_row(Text(row.what), Text(row.found), result)
    console.print(table)
    for row in checks:
        for line in row.errors + row.warnings:
            console.print(Text(f"{row.what}: {line}"), soft_wrap=True)
    if sentence := advice(ROOT):
        print(sentence)
    if count := len(errors(checks)):
        print(f"{count} error{'s' * (count != 1)}: correct params.yaml or the files, and check again")
        raise typer.Exit(2)
    print("nothing keeps a run from using its inputs")
