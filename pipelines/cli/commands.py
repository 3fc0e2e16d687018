"""What each command of `hpt` does; it imports what it needs when it runs, so that help is instant.

Each takes the parsed arguments and returns the exit status.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hpt_core.errors import InputError
from pipelines import environment

ROOT = Path(".")
"""Commands run in the project's folder, as git's and DVC's do."""


def run_flow(options: argparse.Namespace) -> int:
    from pipelines.params import load_params

    if options.recipe or options.overrides:
        _compose(options.recipe, options.overrides)
    load_params(ROOT / "params.yaml")

    from pipelines import flow

    state = flow.run(ROOT, options.workers, options.retries)
    if not state.is_completed():
        print(f"hpt: {state.message}", file=sys.stderr)
        return 1
    print(state.message)
    summary(options)
    print("Runs, curves and models: hpt ui")
    return 0


def write_recipe(options: argparse.Namespace) -> int:
    _compose(options.name, options.overrides)
    print("params.yaml written; next: hpt run")
    return 0


def _compose(recipe: str | None, overrides: list[str]) -> None:
    from pipelines.params import recipes

    if recipe is None:
        recipes.override(ROOT, overrides)
    else:
        recipes.write(ROOT, recipe, overrides)


def add_arm(options: argparse.Namespace) -> int:
    from pipelines.params import add_arm

    add_arm.add(ROOT, options.name, add_arm.parse(options.source))
    print("params.yaml written; next: hpt run")
    return 0


def show_status(options: argparse.Namespace) -> int:
    from pipelines.orchestration.dag import load_stages
    from pipelines.params import load_params

    load_params(ROOT / "params.yaml")
    for stage in load_stages(ROOT):
        print(f"{'out of date' if stage.changed else 'up to date':<12} {stage.name:<22} {stage.desc}")
    return 0


def serve_flow(options: argparse.Namespace) -> int:
    from pipelines.params import load_params

    schedule = load_params(ROOT / "params.yaml").schedule
    from pipelines.orchestration.prefect_server import prefect_server

    with prefect_server(ROOT, options.port):
        from pipelines import flow

        flow.serve(ROOT, schedule, options.workers)
    return 0


def publish(options: argparse.Namespace) -> int:
    from pipelines.tracking import publish, registry

    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")

    def act() -> None:
        print(publish.publish(ROOT))
        print(registry.register(ROOT))

    return _in_mlflow(act)


def show_comparison(options: argparse.Namespace) -> int:
    from rich.console import Console

    from pipelines.tracking import compare_seeds

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    address = compare_seeds.print_comparison(Console(), ROOT, options.port)
    if address is not None:
        print(f"In MLflow, grouped by provenance (with hpt ui): {address}")
        if options.open:
            import webbrowser

            webbrowser.open(address)
    return 0


def roll_back(options: argparse.Namespace) -> int:
    from pipelines.tracking import registry

    return _in_mlflow(lambda: print(registry.rollback(ROOT, options.to, options.reason)))


def show_lineage(options: argparse.Namespace) -> int:
    from rich.console import Console

    from pipelines.tracking import lineage_report

    def act() -> None:
        if options.trajectory:
            lineage_report.print_trajectory(Console(), ROOT, options.trajectory)
        else:
            lineage_report.print_version(Console(), ROOT, int(options.version))

    return _in_mlflow(act)


def _in_mlflow(act: Callable[[], None]) -> int:
    """Exit status of what may need MLflow to be there."""
    try:
        act()
    except Exception as error:
        # Not before: what gets by without mlflow is not to wait for its import.
        from pipelines.tracking.publish import UNREACHABLE

        if not isinstance(error, UNREACHABLE):
            raise
        print(f"hpt: MLflow at {environment.tracking_uri(ROOT)} failed: {error}", file=sys.stderr)
        return 1
    return 0


def summary(options: argparse.Namespace) -> int:
    from rich.console import Console

    from pipelines.report.summary import print_summary

    print_summary(Console(), ROOT)
    return 0


def open_ui(options: argparse.Namespace) -> int:
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    page = "#/experiments?workflowType=machine_learning"
    if uri and uri.startswith("http"):
        print(f"MLflow runs at {uri}/{page}")
        return 0
    print(f"http://127.0.0.1:{options.port}/{page}", flush=True)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", environment.tracking_uri(ROOT)]
    return subprocess.run([*command, "--host", "127.0.0.1", "--port", str(options.port)]).returncode


def verify_file(options: argparse.Namespace) -> int:
    from hpt_core.verifier import VerifierPool, verify_lines

    if options.gold_check:
        from pipelines.cli import gold_check

        return gold_check.check(options.files, options.kind, options.workers, options.timeout, ROOT)
    if len(options.files) != 1 or options.kind:
        raise InputError("hpt verify takes one FILE with a kind in each line; - reads stdin")
    file: Path = options.files[0]
    name = "stdin" if str(file) == "-" else str(file)
    try:
        # Bytes: a line that is not UTF-8 is an error of that line.
        source = sys.stdin.buffer if name == "stdin" else file.open("rb")
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}; give a JSONL file") from error
    with source, VerifierPool(options.workers, options.timeout) as pool:
        for verdict in verify_lines(source, pool, name):
            print(json.dumps(verdict, ensure_ascii=False))
    return 0
