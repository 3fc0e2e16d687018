"""Commands that publish, show and compare the results of runs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import Annotated

import typer

from hpt_core.errors import InputError
from pipelines import environment
from pipelines.cli.parameters import ROOT, examples, port, version

# Commands import what they need when they run, so that `hpt --help` is instant.
app = typer.Typer()


@app.command()
def publish() -> None:
    """Send to MLflow what it lacks, from files, as after `dvc repro`."""
    from pipelines.orchestration import run_lock
    from pipelines.tracking import registry
    from pipelines.tracking.closing import close_dead_runs
    from pipelines.tracking.publish import publish

    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    if run_lock.holder(ROOT) is None:  # The flow closes what its predecessors left when it starts.
        close_dead_runs(ROOT, None, "its process ended before it was complete; found by `hpt publish`")
    print(publish(ROOT))
    print(registry.register(ROOT))


@app.command()
def summary() -> None:
    """Print the table of results."""
    from rich.console import Console

    from pipelines.report.summary import print_summary

    print_summary(Console(), ROOT)


@app.command()
def compare(
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open MLflow's view of the comparison in a browser.")
    ] = False,
    ui_port: Annotated[int, typer.Option("--port", parser=port, help="Port of `hpt ui`.")] = 5000,
) -> None:
    """Compare the arms over all seeds that were published."""
    from rich.console import Console

    from pipelines.tracking.comparison.seeds import print_comparison

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    address = print_comparison(Console(), ROOT, ui_port)
    if address is not None:
        print(f"In MLflow, grouped by provenance (with hpt ui): {address}")
        if open_browser:
            import webbrowser

            webbrowser.open(address)


@app.command(
    epilog=examples(
        'hpt rollback --reason "long answers"  back to the champion before this one',
        "hpt rollback --to v2                  back to version 2",
    )
)
def rollback(
    to: Annotated[
        int | None,
        typer.Option(metavar="VERSION", parser=version, help="A version that was champion before."),
    ] = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Stored with the version that is no longer champion.")
    ] = "",
) -> None:
    """Make the previous champion the champion again."""
    from pipelines.tracking import registry

    print(registry.rollback(ROOT, None if to is None else str(to), reason))


@app.command(
    epilog=examples(
        "hpt lineage 3                what version 3 of the model was made from",
        "hpt lineage --trajectory ID  the runs and models that trained on it",
    )
)
def lineage(
    number: Annotated[
        int | None,
        typer.Argument(metavar="VERSION", parser=version, help="Version of the registered model."),
    ] = None,
    trajectory: Annotated[
        str | None,
        typer.Option(metavar="ID", help="trajectory_id of data/experts/experts.parquet."),
    ] = None,
) -> None:
    """Show what a model was made from, or what used a trajectory."""
    from rich.console import Console

    from pipelines.tracking.lineage import report

    if (number is None) == (trajectory is None):
        raise InputError("give one of the arguments VERSION and --trajectory")
    if trajectory is not None:
        report.print_trajectory(Console(), ROOT, trajectory)
    elif number is not None:
        report.print_version(Console(), ROOT, number)


@app.command()
def ui(
    ui_port: Annotated[int, typer.Option("--port", parser=port, help="Port of MLflow's UI.")] = 5000,
) -> None:
    """Start MLflow's UI on the results."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    page = "#/experiments?workflowType=machine_learning"
    if uri and uri.startswith("http"):
        print(f"MLflow runs at {uri}/{page}")
        return
    print(f"http://127.0.0.1:{ui_port}/{page}", flush=True)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", environment.tracking_uri(ROOT)]
    finished = subprocess.run([*command, "--host", "127.0.0.1", "--port", str(ui_port)])
    raise typer.Exit(finished.returncode)
