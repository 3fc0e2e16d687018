"""Which field of the rows states the problem, alone, with a context or with an instruction around it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hpt_core.data.inspection import contents
from hpt_core.data.inspection.chats import chat_in
from hpt_core.data.inspection.fields import Field
from hpt_core.data.inspection.names import weight

Entry = str | dict[str, Any] | list[Any]
"""What `columns` of a source says of one of our fields, as YAML holds it."""

_LEAST = 1.5
_LEAST_INSTRUCTION = 15
"""An instruction around problems has at least so many characters, before or after them."""
_AFTER = frozenset({"input", "context"})
"""Names of what belongs behind an instruction, as the input of Alpaca does; other contexts come first."""


@dataclass(frozen=True)
class Found:
    """A value that a person would read from each row."""

    column: Field
    """The texts as they are read."""
    entry: Entry
    turns: dict[str, Any] = field(default_factory=dict)
    """What `turns` of the source has to say, if the value is a chat."""
    note: str = ""
    """What a user should know of it, as a comment."""


def find_problem(fields: Sequence[Field]) -> Found | None:
    """The problem of each row; None where no field looks like one."""
    candidates = [_unwrapped(found) or found for each in fields if (found := _as_problem(each))]
    scores = [_score(found, fields) - 0.02 * place for place, found in enumerate(candidates)]
    best = max(zip(scores, candidates, strict=True), key=lambda pair: pair[0], default=None)
    if best is None or best[0] < _LEAST:
        return None
    found = next((raw for raw in candidates if _is_wrapped(best[1].column, raw.column)), best[1])
    return _with_context(found, fields) or found


def _as_problem(candidate: Field) -> Found | None:
    if contents.is_text(candidate):
        return Found(candidate, candidate.path)
    chat = chat_in(candidate)
    if chat and chat.problems.texts:
        return Found(chat.problems, candidate.path, chat.turns)
    return None


def _score(found: Found, fields: Sequence[Field]) -> float:
    texts = found.column
    if (
        contents.is_constant(texts)
        or contents.is_category(texts)
        or contents.is_identifier(texts)
        or contents.share(texts.texts, lambda text: contents.words_of(text) >= 2) < contents.MOST
        or _is_composed(texts, fields)
    ):
        return -10.0
    return (
        weight(texts.name, "problem")
        + 2.5 * contents.share(texts.texts, contents.asks)
        + 0.5 * contents.distinct(texts)
        - 3.0 * (contents.share(texts.texts, contents.states_answer) >= 0.8)
        - 3.0 * (contents.share(texts.texts, contents.has_thinking) >= 0.3)
        - 2.0 * (contents.share(texts.texts, contents.muses) >= 0.5)
    )


def _is_composed(candidate: Field, fields: Sequence[Field]) -> bool:
    """Whether a text holds those of two other columns, as `text` of Alpaca does: prompt and response."""
    held = [
        other
        for other in fields
        if other is not candidate and contents.length(other) >= 20 and _holds(candidate, other)
    ]
    return any(not _holds(a, b) and not _holds(b, a) for a in held for b in held if a is not b)


def _holds(outer: Field, inner: Field) -> bool:
    pairs = [
        (a, b)
        for a, b in zip(outer.values, inner.values, strict=True)
        if isinstance(a, str) and isinstance(b, str) and b.strip()
    ]
    return contents.share(pairs, lambda pair: pair[1].strip() in pair[0]) >= 0.9


def _is_wrapped(outer: Field, raw: Field) -> bool:
    """Whether `outer` is `raw` with the same text around it in all rows."""
    if outer.path == raw.path or not _holds(outer, raw):
        return False
    around = {
        a.replace(b.strip(), "\0", 1)
        for a, b in zip(outer.values, raw.values, strict=True)
        if isinstance(a, str) and isinstance(b, str)
    }
    return len(around) == 1 and around != {"\0"}


def _with_context(found: Found, fields: Sequence[Field]) -> Found | None:
    """The problem with a column that goes before or behind it, such as Body of SVAMP and input of Alpaca."""
    if found.turns or not isinstance(found.entry, str):
        return None
    place = next((i for i, each in enumerate(fields) if each.path == found.column.path), -1)
    for i, other in enumerate(fields):
        if other.path == found.column.path or not other.texts or not contents.is_text(other):
            continue
        named = weight(other.name, "context") > 0
        if not named and not (i == place - 1 and _sets_the_scene(other, found.column)):
            continue
        if _holds(found.column, other) or _holds(other, found.column) or contents.is_category(other):
            continue
        if contents.is_identifier(other):
            continue
        behind = other.name.lower() in _AFTER and weight(found.column.name, "problem") != 3.0
        optional = "?" if len(other.texts) < len(other.values) else ""
        space = " " if contents.length(other) <= 300 and not behind and not optional else "\n\n"
        parts = [f"{{{found.column.path}}}", f"{{{other.path}{optional}}}"]
        texts = [
            space.join(filter(None, (pair if behind else pair[::-1])))
            for pair in zip(found.column.values, (v or "" for v in other.values), strict=True)
            if isinstance(pair[0], str)
        ]
        return Found(Field(found.column.path, tuple(texts)), space.join(parts if behind else parts[::-1]))
    return None


def _sets_the_scene(other: Field, problem: Field) -> bool:
    """Whether the column before a problem states facts, without which its question has no answer."""
    return (
        len(other.texts) == len(other.values)
        and contents.share(other.texts, contents.asks) <= 0.2
        and contents.share(other.texts, lambda text: contents.words_of(text) >= 4) >= contents.MOST
        and contents.share(other.texts, contents.states_answer) <= 0.2
        and contents.distinct(other) >= 0.5
        and contents.length(problem) <= 150
    )


def _unwrapped(found: Found) -> Found | None:
    """The problem without an instruction that all rows have around it."""
    texts = list(dict.fromkeys(found.column.texts))
    if len(texts) < 3:
        return None
    before = _to_boundary(_common_prefix(texts))
    rests = [text[len(before) :] for text in texts]
    after = _from_boundary(_common_prefix([rest[::-1] for rest in rests])[::-1])
    inner = [rest[: len(rest) - len(after)] for rest in rests]
    if max(len(before.strip()), len(after.strip())) < _LEAST_INSTRUCTION:
        return None
    if contents.share(inner, contents.asks) < contents.MOST or not all(text.strip() for text in inner):
        return None
    # The instruction to choose a letter belongs to a question with its options.
    if contents.share(inner, contents.lists_options) >= contents.MOST:
        return None
    shown = f"{_literal(before)}{{problem}}{_literal(after)}"
    values = tuple(
        value[len(before) : len(value) - len(after)] if isinstance(value, str) else None
        for value in found.column.values
    )
    note = "an instruction that all sampled rows have around the problem is taken off"
    return Found(Field(found.column.path, values), {"read": found.entry, "unwrap": shown}, found.turns, note)


def _common_prefix(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _to_boundary(prefix: str) -> str:
    """The part of a common prefix that ends with a line or a sentence: problems may begin alike as well."""
    ends = [match.end() for match in re.finditer(r"\n\s*|[.:!?][\"')]?\s+", prefix)]
    return prefix[: ends[-1]] if ends else ""


def _from_boundary(suffix: str) -> str:
    """The part of a common suffix that begins after the problem: at a line, or behind a sentence."""
    start = re.search(r"\n|(?<=[.?!:$}])\s|^\s", suffix)
    return suffix[start.start() :] if start else ""


def _literal(text: str) -> str:
    """`text` as a template has it: `{}` is a pair of braces, and other braces are doubled."""
    return re.sub(r"\{\}|[{}]", lambda brace: brace[0] if brace[0] == "{}" else brace[0] * 2, text)
