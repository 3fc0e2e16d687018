"""Which field of the rows states the problem, alone, with a context or with an instruction around it."""

from __future__ import annotations

from collections.abc import Sequence

from hpt_core.data.inspection import contents
from hpt_core.data.inspection.chats import chat_in
from hpt_core.data.inspection.fields import Field
from hpt_core.data.inspection.found import Found
from hpt_core.data.inspection.instructions import unwrapped
from hpt_core.data.inspection.names import weight

_LEAST = 1.5
_AFTER = frozenset({"input", "context"})
"""Names of what belongs behind an instruction, as the input of Alpaca does; other contexts come first."""


def find_problem(fields: Sequence[Field]) -> Found | None:
    """The problem of each row; None where no field looks like one."""
    candidates = [unwrapped(found) for each in fields if (found := _as_problem(each))]
    scores = [_score(found, fields) - 0.02 * place for place, found in enumerate(candidates)]
    best = max(zip(scores, candidates, strict=True), key=lambda pair: pair[0], default=None)
    if best is None or best[0] < _LEAST:
        return None
    likely = [each for score, each in zip(scores, candidates, strict=True) if score >= _LEAST]
    found = next((raw for raw in likely if _is_wrapped(best[1].column, raw.column)), best[1])
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
        or contents.share(texts.texts, lambda text: " " in text.strip() or not text.isascii()) < contents.MOST
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
        before = i == place - 1 and weight(other.name, "context") >= 0
        if not named and not (before and _sets_the_scene(other, found.column)):
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
