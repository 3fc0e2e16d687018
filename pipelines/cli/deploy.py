"""`hpt deploy`: the deployments, work pool and automations of params.yaml on the Prefect server in force."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from typing import Annotated

import typer

from pipelines import paths
from pipelines.cli.parameters import ROOT, examples

# Commands import what they need when they run, so that `hpt --help` is instant.
app = typer.Typer()


class Pool(StrEnum):
    """Where the runs of the work pool execute."""

    process = "process"
    docker = "docker"
    kubernetes = "kubernetes"


@app.command(
    epilog=examples(
        "hpt deploy                run in processes of `hpt worker`",
        "hpt deploy --pool docker  run in containers of the pool hpt-docker",
        "hpt deploy --write        only write infra/prefect.yaml for `prefect deploy`",
    )
)
def deploy(
    pool: Annotated[Pool, typer.Option(help="Infrastructure of the runs.")] = Pool.process,
    write: Annotated[bool, typer.Option("--write", help="Write infra/prefect.yaml instead.")] = False,
) -> None:
    """Set up deployments, work pool and alerts in Prefect."""
    from pipelines.params import load_params

    params = load_params(ROOT / paths.PARAMS)
    if params.pools:
        from pipelines.orchestration.dag import load_stages
        from pipelines.pools.assignment import assign

        assign(params.pools, [stage.name for stage in load_stages(ROOT)])
    from pipelines.deployment import specification

    if write:
        from pipelines.deployment import prefect_file

        print(f"{prefect_file.write(ROOT, params)} written")
        return
    from pipelines.deployment import apply

    flows = [(deployment, _flow(deployment.entrypoint)) for deployment in specification.deployments(params)]
    # Prefect says at the end that it waits for its own events.
    logging.getLogger("prefect").setLevel(logging.ERROR)
    changes, alerts = apply.everything(ROOT.resolve(), params, flows, pool.value)
    print("\n".join(changes.lines) or "nothing to change")
    if not alerts:
        print("No alerts are sent. Set HPT_ALERT_WEBHOOK to the address of a webhook and deploy again.")


@app.command(
    epilog=examples(
        "hpt worker --name night",
        "hpt worker --pool gpu",
    )
)
def worker(
    name: Annotated[str | None, typer.Option(help="Name of the worker on the server.")] = None,
    pool: Annotated[str, typer.Option(help="Its work pool; any but hpt is one of stages.")] = "hpt",
) -> None:
    """Run here what the deployments have due, or the stages of a pool."""
    from pipelines.deployment.worker import work

    work(name, pool)


def _flow(entrypoint: str) -> Callable[..., object]:
    module, name = entrypoint.rsplit(".", 1)
    flow: Callable[..., object] = getattr(import_module(module), name)
    return flow
