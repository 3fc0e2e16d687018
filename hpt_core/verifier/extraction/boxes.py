r"""Answers in \boxed{...}: the last one that is filled in, or several which together are the answer.

Braces are matched in one pass with a stack, and what stands around a box is read up to a fixed length, so the
time is linear in the length of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hpt_core.verifier.words import AND_OR, ANDS, HEDGES, LATEX_TEXT, ORS, any_of


@dataclass(frozen=True, slots=True)
class Stated:
    """An answer as it is written, and where it stands in the response."""

    start: int
    end: int
    text: str


_TOKEN = re.compile(
    # One backslash, two in text that was escaped twice, none but a backspace in JSON that was not escaped.
    r"(?:\\{1,2}(?:boxed|fbox|framebox)|\x08oxed)[ \t]{0,4}\{"
    r"|\\boxed[ \t]{1,4}(?P<bare>-?[\w.,]{1,40})|\\.|[{}]",
    re.DOTALL,
)

_PLACEHOLDER = re.compile(
    rf"""(?: \\(?:{LATEX_TEXT})\s?\{{ | [\[<({{_*\s"'] )*
         (?: (?:insert|put|place|write|enter|state|give)\s )? (?: (?:the|your|my|a)\s )?
         (?: (?:final|correct|numerical|numeric)\s )?
         (?: answer|result|solution|letter|number|option|choice|expression )?
         (?: \s(?:here|goes\shere|letter|choice|only) )? [\]>)}}_*\s."'…?]*
       | (?: \\[,;:!\s] | \\(?:l?dots|cdots|quad|qquad|square|phantom\{{\w*\}}|boxed\{{\s*\}}|text\{{\s*\}})
           | [.~?…_\s{{}}] )*
    """,
    re.IGNORECASE | re.VERBOSE,
)

_NAME = r"[A-Za-z](?:_\{?\w{1,4}\}?)?'?"
_DELIMITER = r"(?:\$|\\[()\[\],;:!\ ]|\\q?quad\b|~|\{|\})"
_CONNECTOR = re.compile(
    rf"""(?: \s | {_DELIMITER} | \\text\s?\{{ | [,;/&、，；()] | \*\*
           | (?:{any_of(AND_OR)}|{any_of(HEDGES)})(?![A-Za-z]) )*
         (?: {_NAME}\s?= )? (?: \s | {_DELIMITER} )*""",
    re.IGNORECASE | re.VERBOSE,
)
_CONNECTOR_LENGTH = 60
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_NAMED = re.compile(rf"(?<![A-Za-z0-9_\\^])({_NAME})\s?=\s?$")
_MARKUP = re.compile(rf"{_DELIMITER}|\*\*")

_NEGATED = re.compile(
    r"""(?: \bnot(?:\sequal\sto)? | n't(?:\sbe)? | \bnever | \bcannot\sbe | \bneither
          | \brather\sthan | \binstead\sof
          | \\neq?(?![A-Za-z]) | \\not\s?= | ≠ | != ) (?: \s | \$ | \\\( | \*\* )*$""",
    re.IGNORECASE | re.VERBOSE,
)
_REFUTED = re.compile(
    r"(?:[\s$)*]|\\\))*(?:is|was|are|seems|would be)"
    r"(?:\s+(?:\w+\s+)?(?:wrong|incorrect|impossible|false|not)\b|n't\b)"
)
_MINUS = re.compile(r"(?:^|[=$(\[{:,≈]|\\[(\[]|\bis|\bare|\\approx)\s*[-−–][^\S\n]*$")
_SUFFIX = re.compile(
    r"""(?: [_^](?:\{[^{}]{1,20}\}|\w)
          | (?:[\s$]|\\\)|\\,|\\text\s?\{)*
            (?: \\?% | (?:hundred|thousand|million|billion|trillion|dozen)\b ) )+""",
    re.VERBOSE,
)
_APART = re.compile(r"(?:[\s$]|\\\)|\\,|\\text\s?\{)+")
_OR = any_of(ORS)
_CONJUNCTION = re.compile(rf"(?P<comma>[,;、，]?)\s*(?:(?P<or>{_OR})|{any_of(ANDS)})?", re.IGNORECASE)
_MATHS = r"\$[^$\n]{1,80}\$|\\\([^\n]{1,80}?\\\)|(?<![\w.])[-−–]?\d[\d.,/]{0,40}"
_OR_AFTER = re.compile(
    rf"(?:[\s$)\]*]|\\[)\]])*,?\s?(?:{_OR})(?![A-Za-z])\s*(?:(?:{any_of(HEDGES)})\s+)?"
    rf"(?P<other>{_MATHS}|\(?[A-Z]\)?(?![A-Za-z]))"
)
_OR_BEFORE = re.compile(rf"(?P<other>{_MATHS}|(?<![A-Za-z])\(?[B-Z]\)?)\s+(?:{_OR})\s*(?:\$|\\\()?$")


def is_placeholder(text: str) -> bool:
    """True for what holds the place of an answer: nothing, dots, "your answer", "insert answer here"."""
    return len(text) <= 80 and _PLACEHOLDER.fullmatch(text) is not None


def last_boxed(text: str) -> str | None:
    """The text of `last_box`; None without a box."""
    box = last_box(text)
    return box.text if box else None


def last_box(text: str) -> Stated | None:
    """The answer in the last box, joined with the boxes before it that belong to it; None without a box.

    Boxes belong together if nothing but commas, "and", "or" or a hedge stands between them. The text then has
    all of them with what joins them: "1, -2", "34 or 35", "x = 1 and y = 2".
    """
    boxes = _boxes(text)
    if not boxes:
        return None
    group = [boxes.pop()]
    while boxes and _together(text, boxes[-1], group[0]):
        group.insert(0, boxes.pop())
    return Stated(group[0].start, group[-1].end, _joined(text, group))


def _boxes(text: str) -> list[Stated]:
    """The balanced boxes, the innermost of nested ones, without those that are empty, negated or refuted."""
    first = min((at for at in map(text.find, ("oxed", "fbox", "framebox")) if at >= 0), default=None)
    if first is None:
        return []
    closed: list[Stated] = []
    open_braces: list[
        tuple[int, int] | None
    ] = []  # where a box and its content begin; None for another brace
    for token in _TOKEN.finditer(text, max(first - 3, 0)):
        symbol = token.group()
        if symbol == "}":
            opening = open_braces.pop() if open_braces else None
            # A box that closes after another one inside it began earlier: the inner one is the answer.
            if opening and not (closed and closed[-1].start > opening[0]):
                content = _stripped(text[opening[1] : token.start()])
                if not is_placeholder(content):
                    closed.append(Stated(opening[0], token.end(), content))
        elif symbol == "{":
            open_braces.append(None)
        elif token["bare"]:
            closed.append(Stated(token.start(), token.end(), token["bare"].rstrip(".,")))
        elif symbol[-1] == "{" and len(symbol) > 2:
            open_braces.append((token.start(), token.end()))
    while closed and _is_denied(text, closed[-1]):
        closed.pop()
    return closed


def _stripped(content: str) -> str:
    r"""`content` without white space around it; a "\ " at its end is white space too."""
    content = content.strip()
    backslashes = len(content) - len(content.rstrip("\\"))
    return content[:-1].rstrip() if backslashes % 2 else content


def _is_denied(text: str, box: Stated) -> bool:
    before, after = text[max(box.start - 25, 0) : box.start], text[box.end : box.end + 60]
    return _NEGATED.search(before) is not None or _REFUTED.match(after) is not None


def _together(text: str, left: Stated, right: Stated) -> bool:
    between = text[left.end : right.start]
    return (
        len(between) <= _CONNECTOR_LENGTH
        and _PARAGRAPH.search(between) is None
        and _CONNECTOR.fullmatch(between) is not None
    )


def _joined(text: str, group: list[Stated]) -> str:
    if len(group) == 1 or len({box.text for box in group}) == 1:
        return _with_surroundings(text, group[-1])
    names = [_name_before(text, box) for box in group]
    # "x = 1 or x = 2" is a list of values of x; "x = 1, y = 2" needs its names.
    named = None not in names and len(set(names)) > 1
    parts: list[str] = []
    for i, box in enumerate(group):
        if i:
            parts.append(_between(text[group[i - 1].end : box.start]))
        parts.append(f"{names[i]} = {box.text}" if named else box.text)
    return "".join(parts)


def _between(text: str) -> str:
    """What joins two boxes: in English where it is a conjunction alone, as it is written where it hedges."""
    words = " ".join(_NAMED.sub("", _MARKUP.sub("", text.replace("\\text", "")).rstrip(" ")).split())
    plain = _CONJUNCTION.fullmatch(words)
    if plain is None:
        return f"{words} " if words.startswith((",", ";")) else f" {words} "
    if plain["or"]:
        return " or "
    return ", " if plain["comma"] or not words else " and "


def _name_before(text: str, box: Stated) -> str | None:
    name = _NAMED.search(text[max(box.start - 20, 0) : box.start])
    return name[1] if name else None


def _with_surroundings(text: str, box: Stated) -> str:
    """A lone box with what changes its value outside of it: a sign, an exponent, "million", "or 35"."""
    before, after = text[max(box.start - 100, 0) : box.start], text[box.end : box.end + 120]
    answer = box.text
    # A minus that ends the line before is no sign of the box.
    if before.rstrip(" \t").endswith(("-", "−", "–")) and _MINUS.search(before):
        answer = f"-{answer}" if re.fullmatch(r"[\w.,\\]+", answer) else f"-({answer})"
    suffix = _SUFFIX.match(after)
    if suffix:
        answer += _APART.sub(" ", suffix.group()).rstrip()
    other = _OR_AFTER.match(after)
    if other:
        answer += f" or {other['other']}"
    other = _OR_BEFORE.search(before) if before.rstrip("$(\\ ").endswith(ORS) else None
    return f"{other['other']} or {answer}" if other else answer
