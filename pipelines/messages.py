"""What the processes of the pipeline say: no secret leaves in a log record or a traceback, of any library.

Control characters in what models wrote are escaped on the way too.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from hpt_core.errors import REPORTED_ERRORS
from hpt_core.printable import printable
from hpt_core.redaction import redacted

_FORMATTER = logging.Formatter()
NAMED = 5
"""How many files a sentence names."""


def clean(text: str) -> str:
    """`text` without secrets and control characters."""
    return printable(redacted(text))


def first_names(names: Sequence[str], separator: str = ", ") -> str:
    """The first NAMED of `names`, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return separator.join(names[:NAMED]) + more


def install() -> None:
    """Clean every log record and every traceback of this process from here on. May be repeated."""
    current = logging.getLogRecordFactory()
    if not isinstance(current, _CleanRecords):
        logging.setLogRecordFactory(_CleanRecords(current))
    sys.excepthook = _print_exception
    threading.excepthook = _print_thread_exception


@contextmanager
def without_secrets() -> Iterator[None]:
    """Raise an exception whose text holds a secret anew, without it: Prefect stores what a flow raises."""
    try:
        yield
    except Exception as error:
        if all(redacted(text) == text for text in _texts(error)):
            raise
        logging.getLogger(__name__).error("a secret was removed from this error", exc_info=True)
        kind = type(error) if isinstance(error, REPORTED_ERRORS) else RuntimeError
        name = "" if isinstance(error, REPORTED_ERRORS) else f"{type(error).__name__}: "
        raise kind(clean(f"{name}{error}")) from None


def _texts(error: BaseException | None) -> Iterator[str]:
    """The texts of an exception and of those that led to it, which a traceback repeats."""
    while error is not None:
        yield from traceback.format_exception_only(error)
        error = error.__cause__ or error.__context__


class _CleanRecords:
    """A factory of log records. A filter of a logger would miss the records of the loggers below it."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._factory(*args, **kwargs)
        try:
            message = record.getMessage()
        except Exception:
            return record  # Wrong arguments: logging itself reports them.
        if (cleaned := clean(message)) != message:
            _replace_message(record, cleaned)
        if record.exc_info and not record.exc_text:
            # Formatters take this text in place of a traceback of their own.
            record.exc_text = clean(_FORMATTER.formatException(record.exc_info))
        return record


def _replace_message(record: logging.LogRecord, cleaned: str) -> None:
    """Keep the shape of the arguments where that is enough, since some formatters read them one by one."""
    if isinstance(record.args, tuple):
        record.msg = clean(str(record.msg))
        record.args = tuple(_cleaned_argument(argument) for argument in record.args)
        try:
            if record.getMessage() == cleaned:
                return
        except Exception:
            pass
    record.msg, record.args = cleaned.replace("%", "%%") if record.args else cleaned, ()


def _cleaned_argument(argument: Any) -> Any:
    text = str(argument)
    return argument if (cleaned := clean(text)) == text else cleaned


def _print_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    print(clean("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def _print_thread_exception(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not issubclass(arguments.exc_type, SystemExit):
        name = arguments.thread.name if arguments.thread else "unknown"
        print(f"Exception in thread {name}:", file=sys.stderr)
        _print_exception(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
