"""The source entries of params.yaml that read a data set as it was recognised."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from hpt_core.config.data import TO_FILL_IN
from hpt_core.data.inspection import contents
from hpt_core.data.inspection.fields import Field
from hpt_core.data.inspection.found import Entry
from hpt_core.data.inspection.recognise import Demonstrations, Recognised
from hpt_core.data.reading.files.names import compression_of, format_of

Section = Literal["curate.train", "experts.sources"]


@dataclass(frozen=True)
class Origin:
    """Where the rows are, and what is known of them from elsewhere than the rows."""

    file: str | None = None
    root: str | None = None
    """The key of the rows in a JSON file that is one object."""
    hub: str | None = None
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    license: str | None = None
    """The license of the card of a hub's data set, or of all rows."""

    @property
    def name(self) -> str:
        """A name for sources: the last part of the path or id, in small letters."""
        last = PurePosixPath(self.hub or self.file or "").name
        while self.file and (format_of(last) or compression_of(last)):
            last = PurePosixPath(last).stem
        return re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-") or "data"

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of a source that lead to the rows."""
        if self.file is not None:
            return {"file": self.file} | ({"root": self.root} if self.root else {})
        named = {"hub": self.hub, "subset": self.subset, "split": self.split}
        present = {key: value for key, value in named.items() if value is not None}
        return present | {"revision": self.revision or TO_FILL_IN}


@dataclass(frozen=True)
class SourceEntry:
    """One entry of params.yaml."""

    section: Section
    keys: dict[str, Any]
    comments: Mapping[str, str] = field(default_factory=dict)
    """Key -> what a user should know of its value, or has to fill in."""


def entries_for(found: Recognised, origin: Origin) -> list[SourceEntry]:
    """The entries that fit: one of prompts where there are answers, one of experts for each origin."""
    if found.problem is None:
        return []
    if found.benchmark:
        return [_prompts(found, origin)]
    prompts = [_prompts(found, origin)] if found.answer else []
    experts = [_experts(each, found, origin) for each in found.demonstrations]
    names = [entry.keys["name"] for entry in experts]
    for entry, each in zip(experts, found.demonstrations, strict=True):
        if names.count(entry.keys["name"]) > 1:
            entry.keys["name"] = f"{entry.keys['name']}-{_slug(each.response.column.path)}"
    return [*prompts, *experts]


def _prompts(found: Recognised, origin: Origin) -> SourceEntry:
    keys: dict[str, Any] = {"name": origin.name} | origin.keys
    if found.benchmark:
        # The registry knows the kind and the license of a benchmark, and how its rows are read.
        return SourceEntry("curate.train", {"name": origin.name, "benchmark": found.benchmark} | origin.keys)
    assert found.problem is not None and found.answer is not None
    keys |= {"answer_kind": found.kind, "license": origin.license or found.license or TO_FILL_IN}
    keys["columns"] = {"problem": found.problem.entry, "answer": found.answer.entry}
    keys |= _turns(found.problem.turns | found.answer.turns)
    comments = _to_fill_in(keys) | ({"columns": found.problem.note} if found.problem.note else {})
    return SourceEntry("curate.train", keys, comments)


def _experts(each: Demonstrations, found: Recognised, origin: Origin) -> SourceEntry:
    assert found.problem is not None
    response = each.response
    marked = "their marks" if "score" in each.marks else None
    who = response.by_model or marked
    keys: dict[str, Any] = {
        "name": origin.name,
        "kind": "teacher" if who or response.likely_model else "human",
    }
    if response.author is None:
        keys["author"] = TO_FILL_IN
    keys |= origin.keys | {"license": origin.license or found.license or TO_FILL_IN}
    columns: dict[str, Entry] = {"problem": found.problem.entry, "response": response.entry} | each.marks
    keys["columns"] = columns | ({"author": response.author} if response.author else {})
    keys |= _turns(found.problem.turns | response.turns)
    keys |= {"rewrite": rewrites} if (rewrites := response.rewrites) else {}
    comment = f"by {who}" if who else "a guess, nothing in the rows says it: human or teacher"
    return SourceEntry("experts.sources", keys, {"kind": comment} | _to_fill_in(keys))


def nearest_entry(found: Recognised, fields: Sequence[Field], origin: Origin) -> SourceEntry:
    """An entry of prompts to be completed: the likeliest columns, and TO_FILL_IN for the rest."""
    texts = [each for each in fields if contents.is_text(each) and contents.distinct(each) > 0.5]
    longest = max(texts, key=contents.length, default=None)
    responses = [each.response for each in found.demonstrations]
    stating = [each for each in responses if contents.mostly(each.column, contents.states_answer)]
    columns: dict[str, Entry] = {
        "problem": found.problem.entry if found.problem else longest.path if longest else TO_FILL_IN,
        "answer": stating[0].entry if stating else TO_FILL_IN,
    }
    keys = {"name": origin.name} | origin.keys
    keys |= {"answer_kind": TO_FILL_IN, "license": origin.license or found.license or TO_FILL_IN}
    comments = {"answer_kind": "math, gsm8k, choice or exact"} | _to_fill_in(keys)
    return SourceEntry("curate.train", keys | {"columns": columns}, comments)


def _turns(turns: Mapping[str, Any]) -> dict[str, Any]:
    return {"turns": dict(turns)} if turns else {}


_WHAT_TO_FILL_IN = {
    "license": "of the data set's card; experts.licenses has to list it",
    "author": "who wrote the responses: a name, or MODEL@REVISION",
    "revision": "the commit of the hub's data set",
}


def _to_fill_in(keys: Mapping[str, Any]) -> dict[str, str]:
    return {key: _WHAT_TO_FILL_IN[key] for key in _WHAT_TO_FILL_IN if keys.get(key) == TO_FILL_IN}


def _slug(path: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")
