"""`hpt doctor` and `hpt plan`: what is wrong with a model and what its run will need, before it starts."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.parameters import Overrides, checkout, examples, positive

# A command imports what it needs when it runs, so that `hpt --help` is instant.
app = typer.Typer()
ESCAPES = """
import socket
from hpt_core.verifier.sandbox import confine
confine()
for name, attempt in {"network": socket.socket, "writing": lambda: open("sandbox.txt", "w")}.items():
    try:
        attempt()
    except OSError:
        continue
    raise SystemExit(f"{name} is allowed")
"""
"""A grading process that tries to use the network and to write."""
COLOURS = {"ok": "green", "warning": "yellow", "refused": "red", "not run": "dim"}


@app.command(
    epilog=examples(
        "hpt doctor raw/models/Qwen3-0.6B                       engine hf, float32",
        "hpt doctor models/base --engine vllm --dtype bfloat16  as in params.yaml",
        "hpt doctor gpt2 --chat-template conf/chat/plain.jinja  without a template",
    )
)
def doctor(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Local folder or hub id.")],
    engine: Annotated[Literal["hf", "vllm"], typer.Option(help="rollout.engine")] = "hf",
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="rollout.dtype")] = "float32",
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of the hub's model.")] = None,
    chat_template: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Jinja file, as base.chat_template.")
    ] = None,
    system_prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="As base.system_prompt.")] = None,
) -> None:
    """Check a model: files, weights, template, engine. Exit status 2 if it cannot be used."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from hpt_core.config import RolloutConfig, VLLMConfig
    from hpt_core.files import read_text
    from pipelines.cli.check_rows import row as of_check
    from pipelines.cli.model_checks import Examination, Request

    _quiet()
    rollout = RolloutConfig(
        engine=engine,
        dtype=dtype,
        vllm=VLLMConfig(cpu_cache_gib=1),
        group_size=2,
        max_prompt_tokens=512,
        max_new_tokens=16,
        slots=8,
    )
    template = read_text(chat_template, "correct --chat-template") if chat_template else None
    table = Table("check", "result", "found", title=f"hpt doctor {model}", title_justify="left")
    refused = 0
    console = Console()
    with console.status("reading the model") as status:
        examination = Examination(Request(model, rollout, revision, template, system_prompt))
        for row in chain(examination.rows(), [of_check("verifier's sandbox", check_sandbox)]):
            status.update(f"after: {row.check}")
            table.add_row(row.check, Text(row.verdict, COLOURS[row.verdict]), Text(row.detail))
            refused += row.verdict == "refused"
    console.print(table)
    print(f"{refused} of {table.row_count} checks refuse it" if refused else "usable")
    if refused:
        raise typer.Exit(2)


@app.command(
    epilog=examples(
        "hpt plan                                   of params.yaml, on an h100-80g",
        "hpt plan --device cpu train.ranks=2        with a key changed, not written",
        "hpt plan --recipe gsm8k gsm8k=F model=F    of a recipe",
        "hpt plan --price 2.5 --response 3000       with a cost, for a mean length",
    )
)
def plan(
    overrides: Overrides = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of conf/recipe/NAME.yaml instead of params.yaml.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, h100-80g, h200-141g, a100-80g, a100-40g or l40s-48g.")
    ] = "h100-80g",
    gpus: Annotated[
        int | None, typer.Option(parser=positive, help="GPUs that are paid for; as many as it uses.")
    ] = None,
    price: Annotated[float | None, typer.Option(metavar="USD", help="Price of a GPU for an hour.")] = None,
    response: Annotated[
        int | None, typer.Option(parser=positive, help="Mean length of a response, in tokens; the longest.")
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="logs/steps/ARM.jsonl, whose seconds replace estimates."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Say what a run will need and whether it fits. Writes nothing; exit status 1 if it does not fit."""
    from rich.console import Console

    from pipelines.params import recipes
    from pipelines.plan import devices, text
    from pipelines.plan.plan import Request
    from pipelines.plan.plan import plan as made

    params = recipes.read(checkout(), recipe, overrides or [])
    result = made(params, Request(devices.device(device), gpus, price, response, measured))
    if as_json:
        print(json.dumps(result.as_json(), indent=2))
    else:
        text.show(result, Console(width=text.WIDTH, highlight=False))
    if not result.fits:
        raise typer.Exit(1)


def check_sandbox() -> str:
    """What a grading process cannot do here, tried in one. Raises Doubt for what this system lets it do."""
    from hpt_core.verifier import sandbox
    from pipelines.cli.check_rows import Doubt

    if missing := sandbox.missing():
        raise Doubt(
            f"a grading process keeps {' and '.join(missing)}, which this system cannot forbid: judge what "
            "strangers write on Linux with Landlock and seccomp"
        )
    tried = subprocess.run([sys.executable, "-c", ESCAPES], capture_output=True, text=True)
    if tried.returncode != 0:
        raise Doubt(f"a grading process is not confined: {tried.stderr.strip().splitlines()[-1]}")
    return "no network, no writing"


def _quiet() -> None:
    """Leave out the libraries' own progress and warnings: the table says what they would."""
    import transformers

    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
