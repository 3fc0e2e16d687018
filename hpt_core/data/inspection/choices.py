"""Which fields of the rows hold the options of a question, and how its answer names the right one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any

from hpt_core.data.inspection import contents
from hpt_core.data.inspection.fields import Field
from hpt_core.data.inspection.names import words
from hpt_core.data.inspection.problems import Found

_NAMES = frozenset(["options", "option", "choices", "choice", "endings", "candidates", "alternatives"])
_ANSWER = frozenset({"answer", "label", "correct", "target", "gold"})


@dataclass(frozen=True)
class Options:
    """The options of each question."""

    path: str
    """The list, object or text of `choices`."""
    most: int
    """The largest number of options of a question."""


def find_options(fields: Sequence[Field]) -> Options | None:
    """The field with each question's options; None without one."""
    for field in fields:
        if contents.is_list_of_texts(field) and field.present and _are_options(field):
            return Options(field.path.removesuffix(".text"), max(map(len, field.present)))
    for field in fields:
        lists = contents.share(field.texts, contents.lists_options) >= contents.MOST
        if lists and contents.length(field) <= 600 and contents.share(field.texts, contents.asks) < 0.5:
            return Options(field.path, max(len(contents.option_letters(text)) for text in field.texts))
    return _keyed(fields)


def _keyed(fields: Sequence[Field]) -> Options | None:
    """Options in an object whose keys are the letters: options.A to options.D."""
    parents = [
        field.path.rpartition(".")[0] for field in fields if field.path.rpartition(".")[2] in ("A", "a")
    ]
    for parent in filter(None, parents):
        keys = [field.path for field in fields if field.path.rpartition(".")[0] == parent]
        if len(keys) > 1 and all(key.rpartition(".")[2].upper() in ascii_uppercase for key in keys):
            return Options(parent, len(keys))
    return None


def _are_options(field: Field) -> bool:
    """Whether lists hold 2 to 10 short texts that differ and ask nothing."""
    named = not _NAMES.isdisjoint(words(field.path))
    return all(
        2 <= len(texts) <= 10
        and all(text.strip() and len(text) <= 300 for text in texts)
        and (named or (len(set(texts)) == len(texts) and not any(map(contents.asks, texts))))
        for texts in field.present
    )


def with_options(problem: Found, options: Options) -> Found:
    """The problem, with its options below it."""
    entry: dict[str, Any] = (
        dict(problem.entry) if isinstance(problem.entry, dict) else {"read": problem.entry}
    )
    return replace(problem, entry={**entry, "choices": options.path})


def find_choice(fields: Sequence[Field], options: Options) -> Found | None:
    """The letter of the right option, or its number from 0, as a letter."""
    letters = [
        each
        for each in fields
        if contents.mostly(each, contents.is_letter) and not contents.is_constant(each)
    ]
    lower = [each for each in fields if contents.mostly(each, _is_small_letter)]
    for each in (*letters, *lower):
        return Found(each, each.path)
    numbered = [each for each in fields if _numbers_options(each, options)]
    named = [each for each in numbered if not _ANSWER.isdisjoint(words(each.name))]
    for each in named or numbered[:1]:
        meaning = {str(number): ascii_uppercase[number] for number in range(options.most)}
        return Found(each, {"read": each.path, "map": meaning})
    return None


def _numbers_options(field: Field, options: Options) -> bool:
    values = [value for value in field.present if isinstance(value, int) and not isinstance(value, bool)]
    fits = len(values) == len(field.present) > 0 and min(values) >= 0 and max(values) < options.most
    return fits and len(set(values)) > 1


def _is_small_letter(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[a-e]", value.strip()))
