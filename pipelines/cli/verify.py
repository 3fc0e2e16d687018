"""`hpt verify`: judge responses, or check the verifier on a data set's own answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpt_core.errors import InputError
from hpt_core.printable import printable_json
from pipelines.cli.parameters import ROOT, examples, positive

# The command imports what it needs when it runs, so that `hpt --help` is instant.
app = typer.Typer()


@app.command(
    epilog=examples(
        "hpt verify answers.jsonl > verdicts.jsonl  a verdict for each line, in order",
        "hpt verify --gold-check MATH-500.json      check a data set's own answers",
        "hpt verify --mutation-check MATH-500.json  error rates on changed answers",
    )
)
def verify(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="JSONL; - reads stdin.")] = None,
    gold_check: Annotated[
        bool,
        typer.Option(
            "--gold-check",
            help="Check instead that the verifier accepts the answers of the data sets FILE... (JSON, "
            "JSONL, parquet or folders; by default the benchmarks of data/prompts). Exit status 1 if not.",
        ),
    ] = False,
    mutation_check: Annotated[
        bool,
        typer.Option(
            "--mutation-check",
            help="Check instead that the verifier rejects these answers with one digit, sign, letter or unit "
            "changed, and accepts them in other spellings. Exit status 1 if not.",
        ),
    ] = False,
    kind: Annotated[
        str | None,
        typer.Option(help="Kind of all answers that a check reads.", show_default="from the data"),
    ] = None,
    workers: Annotated[int, typer.Option(parser=positive, help="Processes that judge side by side.")] = 1,
    timeout: Annotated[float, typer.Option(help="Seconds for one line.")] = 5.0,
    sandbox: Annotated[
        bool, typer.Option("--sandbox/--no-sandbox", help="As verifier.sandbox: no network, no writing.")
    ] = True,
) -> None:
    """Judge JSONL lines {"response", "gold", "kind"}.

    Exit status 1 if a line has no verdict, after all lines.
    """
    if gold_check and mutation_check:
        raise InputError("--gold-check and --mutation-check are two checks; give one of them")
    if mutation_check:
        from pipelines.cli import mutation_check as mutations

        if not mutations.check(files or [], kind, workers, timeout, ROOT):
            raise typer.Exit(1)
    elif gold_check:
        from pipelines.cli.gold_check import check

        if not check(files or [], kind, workers, timeout, ROOT, sandbox):
            raise typer.Exit(1)
    elif files is None or len(files) != 1 or kind:
        raise InputError("hpt verify takes one FILE with a kind in each line; - reads stdin")
    else:
        lines, broken = _judge(files[0], workers, timeout, sandbox)
        if broken:
            print(
                f"hpt verify: {broken} of {lines} lines have no verdict; their `error` says why",
                file=sys.stderr,
            )
            raise typer.Exit(1)


def _judge(file: Path, workers: int, timeout_s: float, sandboxed: bool) -> tuple[int, int]:
    """Print a verdict for each line of `file`, or of stdin for -; returns how many lines, and without one."""
    from hpt_core.verifier import VerifierPool, verify_lines

    name = "stdin" if str(file) == "-" else str(file)
    try:
        # Lines are read as bytes, because one that is not UTF-8 is an error of that line alone.
        source = sys.stdin.buffer if name == "stdin" else file.open("rb")
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}; give a JSONL file") from error
    lines = broken = 0
    with source, VerifierPool(workers, timeout_s, sandboxed=sandboxed) as pool:
        for verdict in verify_lines(source, pool, name):
            print(printable_json(verdict))
            lines += 1
            broken += verdict["error"] is not None
    return lines, broken
