"""Commands that change params.yaml, and commands that run the stages by it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipelines import environment, paths
from pipelines.cli.parameters import ROOT, Overrides, StageWorkers, checkout, examples, port

# Commands import what they need when they run, so that `hpt --help` is instant.
app = typer.Typer()


def _recipe_names() -> list[str]:
    """Completions of the name of a recipe."""
    return paths.recipe_names(ROOT)


@app.command(
    epilog=examples(
        "hpt run                                bring everything up to date",
        "hpt run --recipe gsm8k train.steps=50  write params.yaml from a recipe first",
        "hpt run seed=2                         change params.yaml first",
    )
)
def run(
    overrides: Overrides = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="First write params.yaml from conf/recipe/NAME.yaml.",
            autocompletion=_recipe_names,
        ),
    ] = None,
    retries: Annotated[int, typer.Option(help="Retries of a stage that failed.")] = 0,
    workers: StageWorkers = 2,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for another run of this checkout, or end.")
    ] = True,
    prefect: Annotated[
        bool, typer.Option("--with-prefect/--without-prefect", help="Whether Prefect shows the run.")
    ] = True,
) -> None:
    """Run the stages that are out of date, publish, register, push."""
    from pipelines.params import load_params

    root = checkout()
    _warn_of_stopped_stack()
    if recipe or overrides:
        _compose(recipe, overrides)
    params = load_params(root / paths.PARAMS)
    from pipelines.stage.input_checks import check_before_run

    check_before_run(params, root)
    from pipelines import run as running
    from pipelines.cli.results import summary
    from pipelines.report import with_run

    result = running.run(workers, retries, wait, prefect)
    if result.completed:
        print(result.lines)
        summary()
        if report := with_run.newest(root):
            print(f"Report: {report}")
        print("Runs, curves and models: hpt ui")
    else:
        print(f"hpt: {result.lines}", file=sys.stderr)
    if result.prefect_away:
        print(running.PREFECT_AWAY)
        running.leave(result.status)
    raise typer.Exit(result.status)


def _warn_of_stopped_stack() -> None:
    """Say that the run is recorded elsewhere than the runs before it."""
    if environment.stack_stopped(ROOT):
        print(
            "hpt: the stack of this checkout has ended, so this run is recorded in the checkout itself; "
            "start the servers with `hpt stack up`, or go on without them after `hpt stack down`",
            file=sys.stderr,
        )


@app.command(
    epilog=examples(
        "hpt recipe embedded                    from conf/recipe/embedded.yaml",
        "hpt recipe gsm8k seed=2 train.steps=50",
    )
)
def recipe(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="conf/recipe/NAME.yaml", autocompletion=_recipe_names)
    ],
    overrides: Overrides = None,
) -> None:
    """Write params.yaml from a recipe."""
    _compose(name, overrides)
    print("params.yaml written; next: hpt run")


def _compose(recipe: str | None, overrides: list[str] | None) -> None:
    from pipelines.params import recipes

    if recipe is None:
        recipes.override(checkout(), overrides or [])
    else:
        recipes.write(checkout(), recipe, overrides or [])


@app.command(epilog=examples("hpt arm crowd kind=human license=MIT file=raw/data/crowd.jsonl"))
def arm(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new arm and of its source.")],
    source: Annotated[
        list[str],
        typer.Argument(metavar="key=value", help="A key of the source, such as kind=human or file=FILE."),
    ],
) -> None:
    """Add an arm from a new source of trajectories to params.yaml."""
    from pipelines.params import add_arm
    from pipelines.stage.input_checks import check_new_source

    add_arm.add(checkout(), name, add_arm.parse(source), lambda params: check_new_source(params, name))
    print("params.yaml written; next: hpt run")


@app.command()
def status() -> None:
    """List the stages and whether they are up to date."""
    from pipelines.orchestration.dag import load_stages
    from pipelines.orchestration.dvc_stage import running
    from pipelines.orchestration.run_lock import holder
    from pipelines.params import load_params

    root = checkout()
    load_params(root / paths.PARAMS)
    if run := holder(root):
        print(f"a run is going on: {run}")
    now = running(root)
    for stage in load_stages(root):
        verdict = "running" if stage.name in now else "out of date" if stage.changed else "up to date"
        print(f"{verdict:<12} {stage.name:<22} {stage.desc}")


@app.command()
def push() -> None:
    """Copy new data and models to the DVC remote."""
    from pipelines.orchestration import push, raw_files

    root = checkout()
    try:
        count = push.push(root)
    except push.PushError as error:
        print(f"hpt: {error}; {push.remedy(error)}", file=sys.stderr)
        raise typer.Exit(1) from error
    if sentence := raw_files.advice(root):
        print(sentence)
    print(f"{count} files pushed")


@app.command(epilog=examples("hpt serve --port 4300"))
def serve(
    server_port: Annotated[
        int, typer.Option("--port", parser=port, help="Port of the Prefect server that it starts.")
    ] = 4200,
    workers: StageWorkers = 2,
) -> None:
    """Run on the schedule of params.yaml, one run at a time."""
    from pipelines.params import load_params

    root = checkout()
    schedule = load_params(root / paths.PARAMS).schedule
    from pipelines.orchestration.prefect_server import prefect_server

    with prefect_server(root, server_port):
        from pipelines import flow

        flow.serve(schedule, workers)
