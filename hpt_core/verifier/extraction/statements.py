"""Answers that are announced in words: "Answer: 72", "The answer is 72", "**Final Answer**", "答案是 72".

Nouns are found by plain search, and what follows each is matched by patterns of bounded length, for the last
ANNOUNCEMENTS nouns only; so the time is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hpt_core.verifier.words import (
    ADVERBS,
    ASCII_NOUNS,
    CHOICE_NOUNS,
    COPULAS,
    JOINED_COPULAS,
    OTHER_NOUNS,
    any_of,
)

ANNOUNCEMENTS = 16
"""Number of announcements of a response that are read, from its end."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """Where an announced answer begins."""

    start: int
    """Where the noun begins."""
    content: int
    """Where the answer begins."""
    is_label: bool
    """True for "Answer:" and headings, False for "the answer is"."""


_SPACE = r"[ \t\u00a0\u202f]"
_MARKS = r"[*_`\"”’'\])]{0,4}"
_QUALIFIER = (
    rf"(?:{_SPACE}{{0,2}}\([^()\n]{{0,60}}\)"
    rf"|{_SPACE}(?:correcta|correcte|corretta|correta|finale?|exacta|exacte|esatta|exata|final)"
    rf"|{_SPACE}(?:to|for|of|in|on|auf|für|zu|à|de|a la|alla|da|na)\s[^\n:：.。=$\\]{{1,80}}?)?"
)
_ASIDE = rf"(?:{_SPACE}?,{_SPACE}?(?:therefore|thus|then|hence|of course|in fact|indeed|as expected|so),?)?"

_LABEL = re.compile(
    rf"(?:s|en|es|er)?{_MARKS}{_QUALIFIER}{_MARKS}"
    rf"(?:{_SPACE}{{0,4}}(?:[:：︰]|={{1,2}}>?|[-=]>|→|⇒)|{_SPACE}(?:[—–]|--?)(?={_SPACE}))"
)
_VERB = re.compile(
    rf"(?:s|en|es|er)?{_MARKS}{_QUALIFIER}{_ASIDE}"
    rf"(?:{_SPACE}{{1,4}}(?:{any_of(COPULAS)})(?![^\W_])|{_SPACE}{{0,2}}(?:{any_of(JOINED_COPULAS)}))"
    rf"(?:[,\s]{{1,3}}(?:{any_of(ADVERBS)})(?![^\W_]),?)*"
    rf"{_SPACE}{{0,4}}[*_]{{0,3}}[:：]?",
    re.IGNORECASE,
)
_HEADING = re.compile(rf"s?{_MARKS}{_QUALIFIER}{_MARKS}(?:{_SPACE}*(?=\r?\n)|\.{_MARKS}(?=\s))")
_HEADING_START = re.compile(
    r"""[\W_]* (?:\d{1,2}[.)]\s)?
        (?: (?:so|thus|hence|the|my|our|your|final|correct|best|right|short|numerical|numeric|exact
              |最终|最終|正确|la|die|das|le|il|finale|endgültige|définitive) [\W_]+ ){0,4}
        (?:最终|最終|正确)?""",
    re.IGNORECASE | re.VERBOSE,
)
_OTHERS_ANSWER = re.compile(
    r"""(?:wrong|incorrect|false|invalid|bad|initial|previous|tentative|possible|partial|sample|example|no|not\san?
          |not\sthe|student's|falsche|错误|不是) (?:\s|\*)*$
      | \b(?:if|whether|suppose|assume|assuming|unless)\s(?:\w+\s+){0,3}$""",
    re.IGNORECASE | re.VERBOSE,
)
_NEGATED = re.compile(
    rf"(?:\s|{_SPACE}|\*)*(?:not|never|neither|no longer|n't|nicht|pas|不是|not\s+simply)(?![^\W_])",
    re.IGNORECASE,
)
_BUT = re.compile(r"\bbut(?:\s+rather)?\s+|\bsondern\s+|而是")


def announcements(text: str, since: int, choices: bool = False) -> Iterator[Announcement]:
    """The announcements of an answer after `since`, the last first; with `choices`, of options too."""
    tail = text[since:] if since else text
    lower = tail.lower()
    if len(lower) != len(tail):
        # A few capital letters are longer in lower case; positions must stay those of the text.
        lower = "".join(c.lower() if len(c.lower()) == 1 else c for c in tail)
    for start, end in _nouns(lower, choices)[: -ANNOUNCEMENTS - 1 : -1]:
        found = _announcement(text, since + start, since + end)
        if found is not None:
            yield found


def _nouns(lower: str, choices: bool) -> list[tuple[int, int]]:
    nouns = ASCII_NOUNS if lower.isascii() else ASCII_NOUNS + OTHER_NOUNS
    found: dict[int, int] = {}
    for noun in nouns + CHOICE_NOUNS if choices else nouns:
        at = lower.find(noun)
        while at >= 0:
            end = at + len(noun)
            apart = not (lower[at - 1 : at] or " ").isalpha() or noun[0] > "\u2e80"
            if apart:
                found[end] = min(at, found.get(end, at))
            at = lower.find(noun, end)
    return sorted((start, end) for end, start in found.items())


def _announcement(text: str, start: int, end: int) -> Announcement | None:
    line_start = text.rfind("\n", max(start - 60, 0), start) + 1
    before = text[max(line_start, start - 60) : start]
    if _OTHERS_ANSWER.search(before):
        return None
    if text[start] == "答" and end == start + 1 and before[-1:] in ("解", "问", "問", "作", "解"):
        return None
    label = _LABEL.match(text, end)
    if label is not None:
        return Announcement(start, label.end(), True)
    verb = _VERB.match(text, end)
    if verb is not None:
        negated = _NEGATED.match(text, verb.end())
        if negated is None:
            return Announcement(start, verb.end(), False)
        but = _BUT.search(text, negated.end(), negated.end() + 80)
        return Announcement(start, but.end(), False) if but else None
    heading = _HEADING.match(text, end)
    if heading is not None and _HEADING_START.fullmatch(before):
        return Announcement(start, heading.end(), True)
    return None
