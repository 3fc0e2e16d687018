"""`hpt inspect`: what a data set holds, and the entry of params.yaml that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.parameters import examples, positive

if TYPE_CHECKING:
    from hpt_core.data.inspection.trial import Trial

# The command imports what it needs when it runs, so that `hpt --help` is instant.
app = typer.Typer()


@app.command(
    epilog=examples(
        "hpt inspect raw/data/solutions.jsonl       a file of any format",
        "hpt inspect open-r1/OpenR1-Math-220k       its first rows on the hub",
        "hpt inspect openai/gsm8k --subset main",
    )
)
def inspect(
    data: Annotated[str, typer.Argument(metavar="FILE|HUB_ID", help="File, s3://BUCKET/KEY or hub id.")],
    root: Annotated[str | None, typer.Option(help="Key of the rows in a JSON object.")] = None,
    subset: Annotated[str | None, typer.Option(help="Subset of the hub's data set.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the hub's data set.", show_default="train")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of the hub's data set.")] = None,
    rows: Annotated[int, typer.Option(parser=positive, help="Rows that are read, from the top.")] = 100,
) -> None:
    """Show a data set's columns and rows, and the entry that reads it.

    The entry is tried on the rows: it says how many it reads, and whether the verifier accepts their answers.
    Exit status 1 if no entry fits.
    """
    from hpt_core.data.inspection.entries import entries_for, nearest_entry
    from hpt_core.data.inspection.recognise import recognise
    from hpt_core.data.inspection.rows import fields_of
    from hpt_core.data.inspection.sample import read_sample
    from hpt_core.data.inspection.trial import try_entries
    from hpt_core.verifier import VerifierPool
    from pipelines.cli import inspect_text

    sample = read_sample(data, rows, root, subset, split, revision)
    fields = fields_of(sample.rows)
    inspect_text.print_fields(sample, fields)
    inspect_text.print_rows(fields)
    found = recognise(fields, sample.rows)
    trials: list[Trial] = []
    with VerifierPool(1, 5.0) as verifier:
        for trial in try_entries(entries_for(found, sample.origin), sample.records, verifier):
            inspect_text.print_trial(trial)
            trials.append(trial)
    if found.missing:
        inspect_text.print_missing(found.missing, nearest_entry(found, fields, sample.origin))
    if not any(trial.rows for trial in trials):
        raise typer.Exit(1)
