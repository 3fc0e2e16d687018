"""`hpt`: the pipeline from the command line. Each command imports what it needs, so that help is instant."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from hpt_core.errors import InputError
from pipelines import environment

ROOT = Path(".")
"""Commands run in the project's folder, as git's and DVC's do."""

EXAMPLES = """
examples:
  hpt run                                   bring everything up to date, publish what is new
  hpt run --recipe gsm8k train.steps=50     the same after writing params.yaml from a recipe
  hpt run seed=2                            the same after changing params.yaml
  hpt recipe embedded                       write params.yaml from conf/recipe/embedded.yaml
  hpt arm crowd kind=human license=MIT file=raw/data/crowd.jsonl    an arm from a new source
  hpt status                                which stages are out of date
  hpt serve                                 run on the schedule of params.yaml
  hpt compare                               the arms by provenance, over all seeds that were published
  hpt ui                                    open MLflow on the results
  hpt publish                               send results to MLflow after a bare `dvc repro`
  hpt lineage 3                             what version 3 of the model was made from
  hpt lineage --trajectory ID               the runs and models that trained on a trajectory
  hpt rollback --reason "too long answers"  the champion before this one reigns again
  hpt verify answers.jsonl > verdicts.jsonl judge responses
  hpt verify --gold-check MATH-500.json     does the verifier accept a data set's own answers?
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, 1 where the run failed, 2 where the input cannot be used."""
    options = parser().parse_args(arguments)
    environment.prepare(ROOT)
    signal.signal(signal.SIGHUP, _hang_up)
    # A shell starts background jobs with Ctrl-C ignored; `kill -INT` should end them all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except InputError as error:
        print(f"hpt: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hpt: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone (`hpt verify ... | head`); keep Python from flushing into nothing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="hpt",
        description="Hybrid post-training: curate, sample, train on demonstrations and rollouts, compare.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        return sub

    run = add("run", run_flow, "run the stages that are out of date, publish, register, push")
    run.add_argument("--recipe", metavar="NAME", help="first write params.yaml from conf/recipe/NAME.yaml")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="set in params.yaml, Hydra's grammar")
    run.add_argument("--retries", type=int, default=0, help="of a stage that failed (default 0)")
    recipe = add("recipe", write_recipe, "write params.yaml from a recipe")
    recipe.add_argument("name", metavar="NAME")
    recipe.add_argument("overrides", nargs="*", metavar="key=value")
    arm = add("arm", add_arm, "an arm from a new source of trajectories, in params.yaml")
    arm.add_argument("name", metavar="NAME")
    arm.add_argument(
        "source", nargs="+", metavar="key=value", help="of the source: kind=human license=MIT file=..."
    )
    add("status", show_status, "list the stages and whether they are up to date")
    serve = add("serve", serve_flow, "run on the cron and timezone of params.yaml, one run at a time")
    serve.add_argument(
        "--port", type=_port, default=4200, help="of the Prefect server it starts (default 4200)"
    )
    for sub in (run, serve):
        sub.add_argument(
            "--workers",
            type=_workers,
            # A text, which argparse parses only for a command that runs: help has to work whatever it is.
            default=os.environ.get("HPT_WORKERS") or "2",
            help="stages side by side (default HPT_WORKERS or 2)",
        )
    add("publish", publish, "send to MLflow what it lacks, from files")
    add("summary", summary, "print the table of results")
    versus = add(
        "compare", show_comparison, "print the arms against each other, by provenance, over all seeds"
    )
    versus.add_argument("--open", action="store_true", help="open MLflow's view of it in a browser")
    versus.add_argument("--port", type=_port, default=5000, help="of `hpt ui` (default 5000)")
    back = add("rollback", roll_back, "make the version that reigned before the champion again")
    back.add_argument("--to", type=_version, metavar="VERSION", help="of those that were champion")
    back.add_argument("--reason", default="", metavar="TEXT", help="kept with the version that goes")
    line = add("lineage", show_lineage, "what a model was made from, or which models a trajectory made")
    asked = line.add_mutually_exclusive_group(required=True)
    asked.add_argument("version", type=_version, nargs="?", metavar="VERSION", help="of the registered model")
    asked.add_argument("--trajectory", metavar="ID", help="of data/experts/experts.parquet")
    ui = add("ui", open_ui, "start MLflow's UI on the results")
    ui.add_argument("--port", type=_port, default=5000)
    verify = add("verify", verify_file, 'judge JSONL lines {"response", "gold", "kind"}, verdicts to stdout')
    verify.add_argument("files", type=Path, nargs="*", metavar="FILE", help="JSONL; - reads stdin")
    verify.add_argument(
        "--gold-check",
        action="store_true",
        help="instead: does the verifier accept the answers of data sets FILE... (JSON, JSONL, parquet or "
        "folders; without any, the benchmarks of data/prompts)? Exit status 1 if not all",
    )
    verify.add_argument("--kind", help="of the answers that --gold-check reads (default: told by the data)")
    verify.add_argument("--workers", type=_positive, default=1)
    verify.add_argument("--timeout", type=float, default=5.0, help="seconds for one line (default 5)")
    return top


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _version(text: str) -> str:
    """Of a registered model, as MLflow shows it (`Version 3`) and as we do (`v3`)."""
    return str(_positive(text.removeprefix("v")))


def _workers(text: str) -> int:
    try:
        return _positive(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; correct --workers or HPT_WORKERS") from None


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give one from 1 to 65535")
    return int(text)


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
    from pipelines import recipes

    if recipe is None:
        recipes.override(ROOT, overrides)
    else:
        recipes.write(ROOT, recipe, overrides)


def add_arm(options: argparse.Namespace) -> int:
    from pipelines import arms

    arms.add(ROOT, options.name, arms.parse(options.source))
    print("params.yaml written; next: hpt run")
    return 0


def show_status(options: argparse.Namespace) -> int:
    from pipelines.graph import load_stages
    from pipelines.params import load_params

    load_params(ROOT / "params.yaml")
    for stage in load_stages(ROOT):
        print(f"{'out of date' if stage.changed else 'up to date':<12} {stage.name:<22} {stage.desc}")
    return 0


def serve_flow(options: argparse.Namespace) -> int:
    from pipelines.params import load_params

    schedule = load_params(ROOT / "params.yaml").schedule
    from pipelines.server import prefect_server

    with prefect_server(ROOT, options.port):
        from pipelines import flow

        flow.serve(ROOT, schedule, options.workers)
    return 0


def publish(options: argparse.Namespace) -> int:
    from pipelines import register, tracking

    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")

    def act() -> None:
        print(tracking.publish(ROOT))
        print(register.register(ROOT))

    return _in_mlflow(act)


def show_comparison(options: argparse.Namespace) -> int:
    from rich.console import Console

    from pipelines import standings

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    address = standings.print_comparison(Console(), ROOT, options.port)
    if address is not None:
        print(f"In MLflow, grouped by provenance (with hpt ui): {address}")
        if options.open:
            import webbrowser

            webbrowser.open(address)
    return 0


def roll_back(options: argparse.Namespace) -> int:
    from pipelines import register

    return _in_mlflow(lambda: print(register.rollback(ROOT, options.to, options.reason)))


def show_lineage(options: argparse.Namespace) -> int:
    from rich.console import Console

    from pipelines import ancestry

    def act() -> None:
        if options.trajectory:
            ancestry.print_trajectory(Console(), ROOT, options.trajectory)
        else:
            ancestry.print_version(Console(), ROOT, int(options.version))

    return _in_mlflow(act)


def _in_mlflow(act: Callable[[], None]) -> int:
    """Exit status of what may need MLflow to be there."""
    try:
        act()
    except Exception as error:
        # Not before: what gets by without mlflow is not to wait for its import.
        from pipelines.tracking import UNREACHABLE

        if not isinstance(error, UNREACHABLE):
            raise
        print(f"hpt: MLflow at {environment.tracking_uri(ROOT)} failed: {error}", file=sys.stderr)
        return 1
    return 0


def summary(options: argparse.Namespace) -> int:
    from rich.console import Console

    from pipelines.summary import print_summary

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
        from pipelines import goldcheck

        return goldcheck.check(options.files, options.kind, options.workers, options.timeout, ROOT)
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


def _hang_up(number: int, frame: FrameType | None) -> None:
    """A closed terminal ends a run as Ctrl-C does, with the process groups of its stages."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
