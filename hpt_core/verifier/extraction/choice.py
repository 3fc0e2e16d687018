"""The choice that a response names: (B), B. Paris, Option B, "I would pick B", "B is correct".

A text may name one choice, several, or none: "A dog" and "E = mc^2" name none, "A and B" names several.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hpt_core.verifier.answers import letter
from hpt_core.verifier.extraction.boxes import Stated
from hpt_core.verifier.extraction.passages import plain, sentence

_LETTER = (
    r"[*_(\[\"'“‘`$]{0,4}(?:\\\()?(?:\\(?:text|textbf|mathrm|mathbf)\{)?\(?[A-Z]\)?\}?(?:\\\))?(?![A-Za-z'’])"
)
_PICKED = re.compile(
    rf"""\b(?:pick|choose|select|mark|chose|selected|go(?:ing)?\swith|opt(?:ing)?\sfor|settle\son
            |(?:i'd|would|i)\ssay|corresponds?\sto|matches|left\swith|leaves|wähle|choisis
            |elijo|escolho|выбираю)\s+
         (?:(?:the|die|la)\s)? (?:(?:option|answer|choice|letter|answer\schoice)\s+)? (?={_LETTER})
       | (?:故选|应选|選應|故選|选择|選擇|选|選) [:：]? \s? (?={_LETTER})""",
    re.IGNORECASE | re.VERBOSE,
)
_IS_RIGHT = re.compile(
    rf"""(?P<letter>{_LETTER}) [*_"'”’`$]{{0,4}} \s+ (?:is|must\sbe|would\sbe)\s+
         (?:(?:clearly|therefore|thus|indeed)\s)? (?:the\s+)? (?:(?:only|most)\s+)?
         (?:correct|right|best|answer|true|valid)\b (?!\s+that)""",
    re.VERBOSE,
)
_JOINED_OR_DENIED = re.compile(
    r"(?:[A-Z]\)?\s*(?:,|and|or|,\s*and|/)|\b(?:neither|nor|not|if|whether|that)|n't)\s*$"
)
_DENIED = re.compile(
    r"(?:\b(?:not|neither|nor|never|except)|n't)\s+(?:(?:option|choice)\s+)?$", re.IGNORECASE
)
_PARENTHESISED = re.compile(r"(?<![A-Za-z0-9)])\(([A-Z])\)(?![A-Za-z0-9(])")
_ITEM = re.compile(r"\(?[A-Z][).:]")
_BETWEEN = re.compile(r"(?:\s|[,;/&*]|and|or|&)*")


def phrases(text: str, since: int) -> Iterator[Stated]:
    """Phrases that name a choice, from the last on: where the choice stands, and the text from there on."""
    found = [*_PICKED.finditer(text, since), *_IS_RIGHT.finditer(text, since)][-200:]
    for match in sorted(found, key=lambda match: match.start(), reverse=True)[:16]:
        named = match.groupdict().get("letter")
        if named is not None:
            before = text[max(match.start() - 30, 0) : match.start()]
            if not _JOINED_OR_DENIED.search(before):
                yield Stated(match.start(), match.end(), named)
            continue
        yield Stated(match.start(), match.end(), _line(text, match.end()))


def _line(text: str, start: int) -> str:
    return sentence(plain(text[start : start + 1000].partition("\n")[0]))


def is_list(text: str, start: int) -> bool:
    """True if two lines from `start` on begin with letters of choices: a list of them, which names none."""
    lines = [line for line in text[start : start + 1000].split("\n") if line.strip()][:2]
    items = [_ITEM.match(plain(line)) for line in lines]
    return len(items) == 2 and all(items)


def last_line(text: str) -> str | None:
    """The last line, where it names a choice as a whole."""
    line = plain(text.rstrip()[-1000:].rpartition("\n")[2])
    before = plain(text.rstrip()[-2000:].rpartition("\n")[0].rstrip().rpartition("\n")[2])
    alone = len(line) == len(before) == 1 and ord(line) == ord(before) + 1
    listed = alone or (_ITEM.match(line) and _ITEM.match(before))
    named = letter(line) is not None and len(_PARENTHESISED.findall(line)) < 2
    return line if named and not listed else None


def last_parenthesised(text: str) -> str | None:
    """The last (B), if no other choice stands beside it."""
    letters = list(_PARENTHESISED.finditer(text))[-3:]
    if "".join(match[1] for match in letters) in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" and len(letters) == 3:
        return None  # a list of the choices
    letters = letters[-2:]
    if not letters or _DENIED.search(text, max(letters[-1].start() - 30, 0), letters[-1].start()):
        return None
    beside = len(letters) == 2 and _BETWEEN.fullmatch(text, letters[0].end(), letters[1].start())
    return None if beside and letters[0][1] != letters[1][1] else letters[-1][1]
