"""Commands that publish, show and compare the results of runs."""

from __future__ import annotations

import logging
import signal
from typing import Annotated

import typer

from hpt_core.errors import InputError
from pipelines.cli.parameters import ROOT, checkout, examples, port, version

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


@app.command(
    epilog=examples(
        "hpt compare                            what the arms came to",
        "hpt compare --equal flops              once all had spent the same",
    )
)
def compare(
    equal: Annotated[
        str | None,
        typer.Option(
            metavar="BUDGET",
            help="Compare on the dev prompts at equal steps, generated_tokens, trained_tokens or flops.",
        ),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open MLflow's view of the comparison in a browser.")
    ] = False,
    ui_port: Annotated[int, typer.Option("--port", parser=port, help="Port of `hpt ui`.")] = 5000,
) -> None:
    """Compare the arms over all seeds that were published."""
    from rich.console import Console

    if equal is not None:
        if open_browser:
            raise InputError("--equal is a table of the terminal; leave out --open")
        from pipelines.tracking.comparison import equal_budgets

        equal_budgets.print_equal(Console(), ROOT, equal_budgets.named(equal))
        return
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
        "hpt lineage champion         what the champion was made from",
        "hpt lineage --trajectory ID  the runs and models that trained on it",
    )
)
def lineage(
    model: Annotated[
        str | None,
        typer.Argument(metavar="VERSION", help="Version of the registered model, or an alias of one."),
    ] = None,
    trajectory: Annotated[
        str | None,
        typer.Option(metavar="ID", help="trajectory_id of data/experts/experts.parquet."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="With every parameter and the hash of every file.")
    ] = False,
) -> None:
    """Show what a model was made from, or what used a trajectory."""
    from rich.console import Console

    from pipelines.tracking.lineage import report

    if (model is None) == (trajectory is None):
        raise InputError("give one of the arguments VERSION and --trajectory")
    if trajectory is not None:
        report.print_trajectory(Console(), ROOT, trajectory)
    elif model is not None:
        report.print_version(Console(), ROOT, report.version_number(ROOT, model), full)


@app.command(
    epilog=examples(
        "hpt lab ordering           make its runs (conf/lab), or go on with them",
        "hpt lab ordering --report  the report alone, of complete runs",
        "hpt lab ordering --plan    its runs, and how many are complete",
    )
)
def lab(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A file of conf/lab, such as ordering.")],
    report: Annotated[bool, typer.Option("--report", help="Make no run.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Check the design and say what it would run.")] = False,
) -> None:
    """Make the runs of a study, and reports/lab.html. Call it twice for two workers; it may be killed."""
    from rich.console import Console

    from pipelines.lab.run import planned, progress, run_study
    from pipelines.lab.summary import print_plan, print_tables

    checkout()
    if plan:
        print_plan(Console(), planned(ROOT, study))
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for library in ("httpx", "datasets", "transformers"):
        logging.getLogger(library).setLevel(logging.ERROR)
    print_tables(Console(), progress(ROOT, study) if report else run_study(ROOT, study))


@app.command()
def ui(
    ui_port: Annotated[int, typer.Option("--port", parser=port, help="Port of MLflow's page.")] = 5000,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the comparison in a browser.")] = False,
) -> None:
    """Show the results in MLflow's page, until Ctrl-C."""
    from pipelines.tracking.pages.ui import show_ui

    def announce(address: str) -> None:
        print(address, flush=True)
        if open_browser:
            import webbrowser

            webbrowser.open(address)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    raise typer.Exit(show_ui(ROOT, ui_port, announce))
