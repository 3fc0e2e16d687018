"""Rows of the table of `hpt doctor`, and how a check becomes one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hpt_core.errors import REPORTED_ERRORS, one_line


@dataclass(frozen=True)
class Row:
    """The result of one check."""

    check: str
    verdict: Literal["ok", "warning", "refused", "not run"]
    detail: str = ""
    """What was found and, unless all is well, what to do."""


class Doubt(Exception):
    """What was found does not keep the model from being used."""


class NotRun(Exception):
    """An earlier check failed to give what this one needs."""


def row(name: str, check: Callable[[], str | None]) -> Row:
    """The row of a check: it returns what it found, or raises what is wrong."""
    try:
        return Row(name, "ok", check() or "")
    except NotRun as error:
        return Row(name, "not run", f"needs {error}")
    except Doubt as error:
        return Row(name, "warning", str(error))
    except REPORTED_ERRORS as error:
        return Row(name, "refused", str(error))
    # Models and templates of other people fail with errors of every kind.
    except Exception as error:
        return Row(name, "refused", one_line(error))
