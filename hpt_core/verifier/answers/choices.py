r"""The choices that a text names: C, (C), C. Paris, Option C, \text{(C)}."""

from __future__ import annotations

import re

from hpt_core.verifier.answers.texts import plain_characters
from hpt_core.verifier.words import AND_OR, CHOICE_NOUNS, HEDGES, LATEX_TEXT, REASONS, any_of

_MARKUP = re.compile(
    rf"\\(?:{LATEX_TEXT}|boxed|fbox)(?![A-Za-z])\s{{0,3}}\{{?"
    r"|\\(?:left|right|q?quad|displaystyle)(?![A-Za-z])|\\[ ,;:!()\[\]]"
    r"|[*`$}{【】「」]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
)
_LEAD = re.compile(
    r"(?:(?:so|thus|hence|therefore|it is|it's|it must be|the|correct|right|best|final"
    r"|answer(?: choice)?|is|la|el|le|die)\b[\s,:：]*|(?:=>|->|→|⇒|∴)\s*){0,5}"
    rf"(?P<noun>(?:{any_of(CHOICE_NOUNS)}|letter)(?![a-z])\s{{0,3}}[:：]?)?",
    re.IGNORECASE,
)
_FIRST = re.compile(r"[\s\[(\"'“‘.,:]{0,6}([A-Za-z])(?![A-Za-z0-9_'’^])")
_CLOSED = re.compile(r"\s?[).:\]]|\s+[-–—]+\s")
_REASON = re.compile(
    rf"\s*(?:[,;]\s*)?(?:\(|(?:{any_of(REASONS)}|for|it|this|that is|i\.e\.|namely|is|with)\b|[-–—]+\s)",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"\s*[,;]|\s*(?:because|since|which)\b")
_OPERATOR = re.compile(r"\s*[=+*/^<>≪≫≤≥∝~|\\]|\s*-\s?\d")

_JOINED = rf"(?:\b(?:{any_of(AND_OR)}|plus)\b|[,/&+;|、和或与及])"
_HEDGED = rf"(?:\b(?:{any_of((*HEDGES, 'option', 'choice', 'even'))})\s+)*"
_END = r"(?:[).\]]|\s*(?:$|[,/&]|\b(?:and|or)\b))"
_BESIDE = re.compile(rf"\s*(?:{_JOINED}\s*)*{_HEDGED}\(?[A-Za-z]{_END}", re.IGNORECASE)
_OFFERED = rf"(?:(?i:{_JOINED})|\b(?i:but|{any_of(HEDGES)}),?)\s*{_HEDGED}"
# Where the text of the first choice may stand in between, it may name others: "D. Both A and B".
_BESIDE_CLOSED = re.compile(
    rf"[\s).:\]]*(?:(?i:{_JOINED})\s*)+{_HEDGED}\(?[A-Z]{_END}|[\s)\]]*\([A-Z]\)|[)\]]\s*[A-Z][)\]]"
)
_MARKED = re.compile(rf"{_OFFERED}(?:\([A-Z]\)|(?i:option|choice)\s\(?[A-Z]\b|[A-Z][).:\]])")
_BARE = re.compile(rf"{_OFFERED}[A-Z]$")
_ANOTHER = re.compile(r"(?<![A-Za-z0-9'’])[A-HJ-Z](?![A-Za-z0-9'’])")
_RULED_OUT = re.compile(
    r"""(?:,\s*)? \b(?:not|rather\sthan|instead\sof|unlike)\s+ (?:(?:option|choice)\s+)?
        \(?[A-Z]\)? (?: (?:\s*(?:,|or|and|nor)\s*)+ \(?[A-Z]\)? )* (?![A-Za-z])
      | \(?[A-Z]\)?\s+ (?:is|are|was|were|would\sbe|cannot|can't|isn't)\s+ (?:\w+\s+){0,2}
        (?:wrong|incorrect|false|not|too|impossible|be)\b [^.]*""",
    re.VERBOSE,
)
_NEXT_SENTENCE = re.compile(r"[.!?]\s+(?!(?i:or|and|maybe|perhaps|possibly|alternatively|also|but)\b)")
_SERIES = re.compile(r"[A-H]{2,8}|[A-H](?:[,/&\s]{1,3}[A-H])+")


def letter(text: str) -> str | None:
    """The one choice that `text` names, in upper case; None if it names none or several."""
    named = choices(text)
    return named[0] if len(named) == 1 else None


def choices(text: str) -> tuple[str, ...]:
    """The choices that `text` names, in upper case: one, several (the first two of them), or none.

    "A dog", "I think" and "E = mc^2" name no choice, "B because A is too small" names one, and "A or B",
    "(A) (B) (C)" and "ABCD" name several.
    """
    text = _MARKUP.sub(" ", plain_characters(text[:2000])).strip().removesuffix(".")
    if _SERIES.fullmatch(text):
        letters = [c for c in text if c.isalpha()]
        return (letters[0], letters[1])
    lead = _LEAD.match(text)
    assert lead is not None, "the pattern matches the empty text"
    first = _FIRST.match(text, lead.end()) or _FIRST.match(text)
    if first is None:
        return ()
    rest = text[first.end() :]
    stop = _NEXT_SENTENCE.search(rest, 2)
    name, rest = first[1].upper(), _RULED_OUT.sub("", rest[: stop.start()] if stop else rest)
    another = _beside(name, first[1], rest)
    if another:
        return (name, another)
    return (name,) if _is_named(first[1], rest, bool(lead["noun"]) or "(" in first.group()) else ()


def _beside(name: str, written: str, rest: str) -> str | None:
    """Another choice that the text after the first one offers as well; None if there is none."""
    if not written.isupper() and not re.match(r"\s*[).]", rest) and len(rest) > 12:
        return None
    closed = _CLOSED.match(rest)
    found = (_BESIDE_CLOSED if closed else _BESIDE).match(rest) if rest.strip(" )].:*\"'") else None
    if found is None:
        found = _MARKED.search(rest) or (None if closed else _BARE.search(rest)) or _next_in_list(name, rest)
    if found is None:
        return None
    letters = re.findall(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", found.group())
    others = [other.upper() for other in letters if other.upper() != name]
    return others[-1] if others else None


def _next_in_list(name: str, rest: str) -> re.Match[str] | None:
    """The choice after `name` in a list of choices, "(A) 3 (B) 4", which names none of them."""
    mark = rest[:1]
    return (
        re.search(rf"(?<![A-Za-z0-9])\(?{chr(ord(name) + 1)}\{mark}", rest)
        if mark in (")", ":") and mark
        else None
    )


def _is_named(written: str, rest: str, marked: bool) -> bool:
    """True if `written` stands for a choice and not for a word or a symbol of a sentence or formula."""
    text = rest.strip(" \t\n)].:,;\"'”’")
    if not text:
        return True
    if _CLOSED.match(rest):
        return True
    if _OPERATOR.match(rest):
        return False
    if _REASON.match(rest):
        article = written in "AIa" and not (marked or (written == "A" and _CLAUSE.match(rest)))
        return written.isupper() and not article
    if _ANOTHER.search(text) or not written.isupper():
        return False
    return marked or written not in "AI"
