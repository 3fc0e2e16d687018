"""`hpt`: the application, its exit statuses and its signals; the other modules hold its commands."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType

import typer

from hpt_core.errors import REPORTED_ERRORS, InputError, storage_fault
from pipelines import environment, messages
from pipelines.cli import check, deploy, doctor, inbox, inspect, results, runs, stack, verify
from pipelines.cli.parameters import ROOT
from pipelines.stack.errors import StackError
from pipelines.tracking.mlflow_errors import TrackingError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 and the number of the signal."""

# Plain text: rich would take a third of the time that `hpt --help` may take.
app = typer.Typer(
    help="Hybrid post-training: curate, sample, train, evaluate, compare.",
    epilog="Arguments and examples of a command: hpt COMMAND --help",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for commands in (
    runs.app,
    check.app,
    deploy.app,
    results.app,
    verify.app,
    inspect.app,
    doctor.app,
    stack.app,
):
    app.add_typer(commands)
app.add_typer(inbox.app, name="inbox")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; exit status 0, 1 if it failed, 2 if its input cannot be used, 130 if interrupted."""
    signal.signal(signal.SIGHUP, _hang_up)
    signal.signal(signal.SIGTERM, _terminate)
    # A shell starts background jobs with Ctrl-C ignored, and `kill -INT` should end them all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        environment.prepare(ROOT)
        # If the reader of the output has ended (`hpt verify ... | head`), the command ends with status 1.
        status: int = app(arguments, prog_name="hpt", standalone_mode=False) or 0
    except InputError as error:
        print(f"hpt: {messages.clean(str(error))}", file=sys.stderr)
        return 2
    except (TrackingError, StackError, *REPORTED_ERRORS) as error:
        print(f"hpt: {messages.clean(str(error))}", file=sys.stderr)
        return 1
    except OSError as error:
        if (fault := storage_fault(error)) is None:
            raise
        print(f"hpt: {messages.clean(fault)}", file=sys.stderr)
        return 1
    except typer.TyperException as error:
        print(_usage_error(error), file=sys.stderr)
        return error.exit_code
    if status == INTERRUPTED:
        print("hpt: interrupted", file=sys.stderr)
    return status


def _usage_error(error: typer.TyperException) -> str:
    """One line: the command, what is wrong with its arguments, and where they are described."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "hpt"
    return f"{command}: {error.format_message().rstrip('.')}; see `{command} --help`"


def _hang_up(number: int, frame: FrameType | None) -> None:
    """End a run whose terminal was closed as Ctrl-C does, with the process groups of its stages."""
    raise KeyboardInterrupt


def _terminate(number: int, frame: FrameType | None) -> None:
    """End in order what the command has started, with the exit status that shells give."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
