"""`hpt`: the pipeline from the command line; commands.py has what the commands do."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from hpt_core.errors import InputError
from pipelines import environment
from pipelines.cli import commands

Add = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]
"""(name, what it does, help) -> the parser of a command."""

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
    environment.prepare(commands.ROOT)
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
    subparsers = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        return sub

    _add_runs(add)
    _add_results(add)
    return top


def _add_runs(add: Add) -> None:
    """What changes params.yaml, and what runs by it."""
    run = add("run", commands.run_flow, "run the stages that are out of date, publish, register, push")
    run.add_argument("--recipe", metavar="NAME", help="first write params.yaml from conf/recipe/NAME.yaml")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="set in params.yaml, Hydra's grammar")
    run.add_argument("--retries", type=int, default=0, help="of a stage that failed (default 0)")
    recipe = add("recipe", commands.write_recipe, "write params.yaml from a recipe")
    recipe.add_argument("name", metavar="NAME")
    recipe.add_argument("overrides", nargs="*", metavar="key=value")
    arm = add("arm", commands.add_arm, "an arm from a new source of trajectories, in params.yaml")
    arm.add_argument("name", metavar="NAME")
    arm.add_argument(
        "source", nargs="+", metavar="key=value", help="of the source: kind=human license=MIT file=..."
    )
    add("status", commands.show_status, "list the stages and whether they are up to date")
    serve = add("serve", commands.serve_flow, "run on the schedule of params.yaml, one run at a time")
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


def _add_results(add: Add) -> None:
    """What comes after a run."""
    add("publish", commands.publish, "send to MLflow what it lacks, from files")
    add("summary", commands.summary, "print the table of results")
    versus = add(
        "compare",
        commands.show_comparison,
        "print the arms against each other, over all seeds",
    )
    versus.add_argument("--open", action="store_true", help="open MLflow's view of it in a browser")
    versus.add_argument("--port", type=_port, default=5000, help="of `hpt ui` (default 5000)")
    back = add("rollback", commands.roll_back, "make the version that reigned before the champion again")
    back.add_argument("--to", type=_version, metavar="VERSION", help="of those that were champion")
    back.add_argument("--reason", default="", metavar="TEXT", help="kept with the version that goes")
    line = add("lineage", commands.show_lineage, "what a model was made from, or what a trajectory made")
    asked = line.add_mutually_exclusive_group(required=True)
    asked.add_argument("version", type=_version, nargs="?", metavar="VERSION", help="of the registered model")
    asked.add_argument("--trajectory", metavar="ID", help="of data/experts/experts.parquet")
    ui = add("ui", commands.open_ui, "start MLflow's UI on the results")
    ui.add_argument("--port", type=_port, default=5000)
    verify = add("verify", commands.verify_file, 'judge JSONL lines {"response", "gold", "kind"}')
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


def _hang_up(number: int, frame: FrameType | None) -> None:
    """A closed terminal ends a run as Ctrl-C does, with the process groups of its stages."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
