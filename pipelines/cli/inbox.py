"""`hpt inbox`: new files of demonstrations in a bucket."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from hpt_core.printable import printable
from pipelines.cli.parameters import ROOT, examples

# Commands import what they need when they run, so that `hpt --help` is instant.
app = typer.Typer(
    help="Take new files of demonstrations from a bucket.",
    epilog=examples(
        "hpt inbox put new.jsonl --source crowd  upload a file",
        "hpt inbox poll                          take what is new",
    ),
)


@app.command("list", epilog=examples("hpt inbox list"))
def list_files() -> None:
    """List the files of the inbox and what became of each."""
    from rich.console import Console
    from rich.text import Text

    from pipelines.inbox.contents import entries
    from pipelines.inbox.poll import open_inbox
    from pipelines.report.summary import empty_table

    with _errors():
        inbox = open_inbox(ROOT)
        found = entries(inbox)
        if not found:
            print(f"no files in {inbox.config.url}; next: hpt inbox put FILE --source NAME")
            return
        table = empty_table(None)
        for heading in ("file", "bytes", "uploaded", "state"):
            table.add_column(heading, justify="right" if heading == "bytes" else "left", overflow="fold")
        for entry in found:
            size = "" if entry.size is None else f"{entry.size:,}"
            cells = (printable(entry.key), size, f"{entry.uploaded[:16]}Z", printable(entry.state))
            table.add_row(*map(Text, cells))
        Console().print(table)


@app.command(
    epilog=examples(
        "hpt inbox put new.jsonl --source crowd",
        "hpt inbox put new.jsonl --source crowd --as 2026/may.jsonl",
    )
)
def put(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A data file.")],
    source: Annotated[str, typer.Option(metavar="NAME", help="A source of experts.sources.")],
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Its name in the inbox.", show_default="its own"),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Over another file of this name.")] = False,
) -> None:
    """Check a file and upload it with its checksum."""
    from pipelines.inbox.contents import put
    from pipelines.inbox.poll import open_inbox

    with _errors():
        print(put(open_inbox(ROOT), file, source, name, replace=replace))


@app.command(epilog=examples("hpt inbox poll"))
def poll() -> None:
    """Take the new files, each checked and once."""
    from pipelines.inbox.poll import poll
    from pipelines.orchestration import run_lock

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with _errors(), run_lock.hold(ROOT):
        received = poll(ROOT)
    if received.taken and os.environ.get("PREFECT_API_URL"):
        from pipelines.deployment.inbox_event import emit_received

        emit_received(received.taken)
    for receipt in received.receipts:
        detail = f": {receipt.detail}" if receipt.detail else f": {receipt.path}, {receipt.rows} rows"
        print(printable(f"{receipt.key}: {receipt.outcome}{detail}"))
    for key, reason in received.waiting.items():
        print(printable(f"{key}: waiting: {reason}"))
    print(received)
    if received.versioned:
        print(f"next: git add {' '.join(received.versioned)}, commit it, and hpt run")


@app.command(epilog=examples("hpt inbox release crowd/new.jsonl  out of quarantine"))
def release(
    key: Annotated[str, typer.Argument(metavar="KEY", help="SOURCE/NAME of its upload, or its id.")],
) -> None:
    """Put a file in quarantine back into the inbox."""
    from pipelines.inbox import quarantine
    from pipelines.inbox.poll import open_inbox

    with _errors():
        inbox = open_inbox(ROOT)
        released = quarantine.release(inbox.bucket, key)
    print(printable(f"{inbox.bucket.url(released.receipt.key)}: back in the inbox; next: hpt inbox poll"))


@contextmanager
def _errors() -> Iterator[None]:
    from pipelines.inbox.s3_errors import InboxError
    from pipelines.messages import clean

    try:
        yield
    except InboxError as error:
        print(f"hpt inbox: {clean(str(error))}", file=sys.stderr)
        raise typer.Exit(1) from error
