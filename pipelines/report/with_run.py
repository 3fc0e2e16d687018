"""The report of one run: the versioned page with the facts that two runs of the same inputs do not share.

reports/provenance.html is an output of DVC and the same for the same inputs, so it cannot say when it was
made, from which commit, or where the run is. The copies for readers say so: `paths.LATEST_REPORT`, and the
artifact in MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from markupsafe import Markup, escape

from hpt_core.errors import InputError
from hpt_core.files import read_text, write_text
from pipelines import paths

END_OF_HEADER = "</header>"


@dataclass(frozen=True)
class RunFacts:
    """What a reader wants to know of the run behind a report, and cannot be in a versioned file."""

    finished: datetime
    """When the results were published, with its time zone."""
    commit: str | None = None
    """Hash of the git commit; None without git."""
    modified: bool = False
    """Whether the code or the parameters differ from that commit."""
    recipe: str | None = None
    """The recipe and the overrides that wrote params.yaml, as its first line has them."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Label -> address, such as "Runs in MLflow" -> "https://HOST/#/experiments/1/runs/ID". What is no http
    or https address is shown as text."""


def with_run(html: str, facts: RunFacts) -> str:
    """`html`, a page of `pipelines.report.page`, with the facts of a run below its heading.

    Names and addresses are escaped, and a user name or password in an address is left out. Raises InputError
    for a text that is no such page.
    """
    head, end, rest = html.partition(END_OF_HEADER)
    if not end:
        raise InputError("no report in HTML; run `dvc repro compare`")
    items = Markup("").join(
        Markup("<div><dt>{}</dt> <dd>{}</dd></div>\n").format(name, value) for name, value in _items(facts)
    )
    return f'{head}<dl class="run" aria-label="This run">\n{items}</dl>\n{end}{rest}'


def write_latest(root: Path, facts: RunFacts) -> Path:
    """Write the report of the project under `root` with the facts of its run to `paths.LATEST_REPORT`.

    Returns that path. Raises InputError where there is no report yet.
    """
    write_text(root / paths.LATEST_REPORT, with_run(read_text(root / paths.REPORT), facts))
    return root / paths.LATEST_REPORT


def newest(root: Path) -> Path | None:
    """The report to be read: the copy of its run, or the versioned page where that is younger or alone.

    Relative to the project under `root`; None where nothing was compared yet.
    """
    found = [path for path in (paths.LATEST_REPORT, paths.REPORT) if (root / path).exists()]
    # The copy is made after the page, and max() takes the first of equals.
    return max(found, key=lambda path: (root / path).stat().st_mtime, default=None)


def _items(facts: RunFacts) -> list[tuple[str, str | Markup]]:
    commit = facts.commit[:12] if facts.commit else "no git repository"
    found: list[tuple[str, str | Markup]] = [
        ("Date", facts.finished.strftime("%Y-%m-%d %H:%M %Z").strip()),
        ("Commit", f"{commit}, with changes" if facts.commit and facts.modified else commit),
    ]
    found += [("Recipe", facts.recipe)] if facts.recipe else []
    return [*found, *((label, _link(address)) for label, address in facts.links.items())]


def _link(address: str) -> Markup:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        return escape(address)
    shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return Markup('<a href="{0}" target="_blank" rel="noopener noreferrer">{0}</a>').format(shown)
