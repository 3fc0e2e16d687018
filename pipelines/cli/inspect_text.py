"""What `hpt inspect` prints: columns, rows, entries with what they read, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from textwrap import fill
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpt_core.data.inspection.chats import chat_in
from hpt_core.data.inspection.entries import SourceEntry
from hpt_core.data.inspection.fields import Field, is_list_of_objects
from hpt_core.data.inspection.sample import Sample
from hpt_core.data.inspection.trial import Trial, place_of
from hpt_core.printable import printable
from pipelines.cli.parameters import echo
from pipelines.params.source_text import source_text

WIDTH = 100
ROWS = 3
"""Rows that are shown."""
SHOWN = 3
"""Reasons, and references or responses that the verifier does not accept, that are shown of each."""
_WHERE = {
    "curate.train": "Prompts, under `train` of `curate` (or a name in `benchmarks`, to evaluate on them):",
    "experts.sources": "Demonstrations, under `sources` of `experts`:",
}


def print_fields(sample: Sample, fields: Sequence[Field]) -> None:
    """A table of the fields: path, type, nulls and the beginning of a value."""
    count = len(sample.rows)
    which = f"all {count} rows" if sample.complete else f"the first {count} rows"
    if count == 1:
        which = "one row"
    table = Table("column", "type", "null", "sample", box=None, pad_edge=False, header_style="bold")
    table.columns[0].overflow = table.columns[1].overflow = "fold"
    table.columns[2].justify = "right"
    longest = max(len(field.path) for field in fields)
    widths = min(longest, 40), 24
    for field in fields:
        value = next(iter(field.present), None)
        sample_text = _short(value, max(20, WIDTH - sum(widths) - 12))
        chat = chat_in(field)
        kind = f"chat: {', '.join(chat.roles)}" if chat else field.type_name
        cells = (field.path, kind, str(field.nulls or ""))
        table.add_row(*(Text(printable(cell)) for cell in cells), Text(sample_text, "dim"))
    table.columns[0].max_width, table.columns[1].max_width = widths
    echo(f"{sample.origin.file or sample.origin.hub}: {which}\n")
    Console(width=WIDTH, highlight=False).print(table)
    for number, bad in sample.bad_lines[:SHOWN]:
        echo(f"line {number} is no row: {bad.reason}: {bad.detail}"[:WIDTH])


def print_rows(fields: Sequence[Field]) -> None:
    """The first rows, a line for each field: long texts by their beginning and their end."""
    label = min(max(len(field.path) for field in fields), 32)
    for row in range(min(ROWS, len(fields[0].values))):
        echo(f"\nRow {row + 1}")
        for field in (each for each in fields if each.present):
            name = field.path if len(field.path) <= label else f"{field.path[: label - 1]}…"
            echo(f"  {name:<{label}}  {_ends(field.values[row], WIDTH - label - 4)}")


def print_trial(trial: Trial) -> None:
    """An entry, how many rows it reads, what the verifier says of them, and what is not read."""
    echo(f"\n{_WHERE[trial.entry.section]}\n")
    echo(source_text(trial.entry.keys, trial.entry.comments))
    echo("\n  ".join(["", *_counts(trial)]))
    for reason, count in trial.unread.most_common(SHOWN):
        echo(f"  {count} not read, {_short(f'{reason}: {trial.examples[reason]}', WIDTH - 16)}")
    for refused in trial.refused[:SHOWN]:
        echo(f"  not accepted: {_short(refused, WIDTH - 18)}")
    if trial.unused_turns:
        echo(f"  turns that are not used: {', '.join(trial.unused_turns)}")
    if trial.rows:
        echo(f"  as read from {place_of(trial.rows[0])}:")
        for name, value in trial.rows[0].values.items():
            echo(f"    {name:<8}  {_ends(value, WIDTH - 14)}")


def print_missing(missing: str, nearest: SourceEntry) -> None:
    """What was not found, and the entry that is nearest to one."""
    echo("\n" + fill(f"Not found: {missing}. The nearest entry, to be completed:", WIDTH) + "\n")
    echo(source_text(nearest.keys, nearest.comments))


def _counts(trial: Trial) -> Iterator[str]:
    """How much of the sample is read, and what the verifier says of it."""
    read, unread = len(trial.rows), sum(trial.unread.values())
    if trial.entry.section == "curate.train":
        verdict = f"the verifier accepts {trial.accepted} of {trial.judged} references"
        yield f"Reads {read} of {read + unread} rows; {verdict}."
        return
    dropped = f", of which `keep` drops {trial.left_out}" if trial.left_out else ""
    yield f"Reads {read} of {read + unread} responses{dropped}."
    if trial.judged:
        marks = f"; `score` agrees on {trial.agreed} of {trial.marked}" if trial.marked else ""
        yield f"Of {trial.judged} judged by the references above, {trial.accepted} are correct{marks}."
    else:
        yield "Without references, none is judged here."


def _short(value: Any, width: int) -> str:
    """A value on one line, cut at its end."""
    text = _line(value)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _ends(value: Any, width: int) -> str:
    """A value on one line, cut in its middle, since a response ends in its answer."""
    text = _line(value)
    if len(text) <= width:
        return text
    end = min(24, width // 3)
    return f"{text[: width - end - 3]} … {text[-end:]}"


def _line(value: Any) -> str:
    if value is None:
        return "null"
    if is_list_of_objects(value) and (chat := chat_in(Field("", (value,)))):
        return "  ".join(f"{role}: {_line(text)}" for role, text in chat.spoken(value))
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return printable(" ".join(text.split()))
