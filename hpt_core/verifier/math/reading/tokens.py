"""The tokens of a mathematical answer: numbers, letters, words, commands and symbols."""

from __future__ import annotations

import re
from typing import NamedTuple

from hpt_core.verifier.math import vocabulary
from hpt_core.verifier.math.units import UNITS
from hpt_core.verifier.math.vocabulary import words

MAX_TOKENS = 600


class UnreadError(Exception):
    """The text is no answer that the grammar can read whole."""


class Token(NamedTuple):
    """One token."""

    kind: str
    """number, repeating, based, letter, word, command, symbol or end."""
    text: str
    spaced: bool = False
    """Whether a space stands before it."""
    upright: bool = False
    """Whether it stands in a text or an upright font, where m is the metre and no variable."""


END = Token("end", "")

_THIN = r"(?:\\[,!]){1,3}"
_GROUPED_ALWAYS = rf"\d{{1,3}}(?:(?:\{{,\}}|{_THIN}|,{_THIN}\s?|{_THIN},)\d{{3}})+(?!\d)"
_GROUPED_BY_COMMA = rf"\d{{1,3}}(?:(?:,|\{{,\}}|{_THIN}|,{_THIN}\s?|{_THIN},|\s)\d{{3}})+(?!\d)"
_PLAIN = r"""
    (?P<recurring>\d*\.\d*(?P<last>\d)(?P=last)(?P=last)(?:\.\.\.|\s?\\ldots(?![A-Za-z])))
  | (?P<repeating>\d*\.\d*(?:\\(?:overline|bar|dot|overset\{\\frown\})\s*\{?\d+\}?
        (?:\d*\\dot\s*\{?\d\}?)?|\(\d+\)))
  | (?P<based>(?=[0-9A-Z]*\d)[0-9A-F]*_\s*(?:\{\s*1[1-6]\s*\}))
  | (?P<date>\d{4}-\d{1,2}-\d{1,2}(?!\d)|\d{1,2}/\d{1,2}/\d{4}(?!\d))
  | (?P<number>GROUPED(?:\.\d+)?|(?:\d+(?:\.\d+)?|\.\d+|\d+\.(?=\s*(?:[/*)+-]|$)))(?:[eE][+-]?\d+(?![\w.]))?)
  | (?P<ellipsis>\.\.\.|\\ldots)
  | (?P<styled>\\(?:text|textbf|textit|textrm|texttt|textsf|textup|textnormal|mbox|hbox|emph|mathrm
        |operatorname\*?
        |mathbf|boldsymbol|bm|bold|pmb|mathbb|mathcal|mathscr|mathfrak|mathit|mathsf|mathtt|mathnormal
        |vec|hat|bar|tilde|dot|ddot|overline|overrightarrow|overleftrightarrow|overleftarrow|widehat|widetilde
        |underline|boxed|fbox)(?![A-Za-z]))
  | (?P<clock>(?<![A-Za-z\\])[ap]\.\s?m\.?(?![A-Za-z])|(?<![A-Za-z\\])[AP]\.\s?M\.?(?![A-Za-z]))
  | (?P<command>\\(?:[A-Za-z]+|[{}$%&#_|\\]))
  | (?P<gap>(?:\s|\\[,!])+)
  | (?P<letters>[^\W\d_]+)
  | (?P<symbol>[-+*/^_()\[\]{},;:!|=<>'&.@\#?$€£¥₹])
"""
_SCANNERS = {
    thousands: re.compile(
        _PLAIN.replace("GROUPED", _GROUPED_BY_COMMA if thousands else _GROUPED_ALWAYS), re.VERBOSE
    )
    for thousands in (False, True)
}
_TEXT_STYLES = words("text textbf textit textrm texttt textsf textup textnormal mbox hbox emph")
_UPRIGHT_STYLES = frozenset(("mathrm", "operatorname", "operatorname*"))
_PLAIN_STYLES = words("mathit mathsf mathtt mathnormal underline boxed fbox")
_UNIT_VECTOR = re.compile(r"\s*(?:\\mathbf\s*)?\{?\s*\\?([ijk])(?:math)?\s*\}?\s*")
_SAME_ACCENT = {"overrightarrow": "vec", "widehat": "hat", "widetilde": "tilde", "bar": "overline"}
_BOLD = words("mathbf boldsymbol bm bold pmb")


def tokenize(text: str, thousands: bool) -> list[Token]:
    """The tokens of a canonical text. Raises UnreadError at a character that no answer has.

    `thousands` says whether the comma in 1,234 separates thousands or the items of a list.
    """
    tokens: list[Token] = []
    parts = re.split(r"(?<!\\)\${1,2}|\\[()\[\]]", text)
    if len(parts) == 2:
        # A single dollar sign is money.
        parts = [re.sub(r"(?<!\\)\$", lambda _: r"\$", text)]
    for i, part in enumerate(parts):
        inside = len(parts) == 1 or i % 2 == 1
        _scan(part, thousands, "math" if inside else "text", tokens, 0)
    if len(tokens) > MAX_TOKENS:
        raise UnreadError("too many tokens")
    return tokens


def _scan(text: str, thousands: bool, style: str, tokens: list[Token], depth: int) -> None:
    if depth > 8:
        raise UnreadError("styles nested too deeply")
    scanner = _SCANNERS[thousands]
    at, spaced = 0, style != "math" or depth == 0
    upright = style != "math"
    while at < len(text):
        match = scanner.match(text, at)
        if match is None:
            raise UnreadError(f"the character {text[at]!r}")
        kind, found, at = str(match.lastgroup), match.group(), match.end()
        if kind == "gap":
            spaced = spaced or not found.startswith("\\") or len(found) > 2
            continue
        if kind == "styled":
            at = _styled(found[1:], text, at, thousands, tokens, (style, spaced, depth))
        elif kind == "letters":
            _letters(found, style, spaced, tokens)
        elif kind == "ellipsis":
            tokens.append(Token("letter", r"\ldots", spaced))
        elif kind == "recurring":
            digits = re.sub(r"[^\d.]|\.\.\.", "", found)
            tokens.append(Token("repeating", f"{digits[:-1]}({digits[-1]})", spaced))
        elif kind == "clock":
            tokens.append(Token("word", found[0].lower() + "m", spaced, True))
        elif kind == "date":
            tokens.append(Token("word", found, spaced, True))
        else:
            if kind == "number" and not thousands and _is_rest_of_thousands(found, spaced, tokens):
                raise UnreadError(f"the list item {found}")
            tokens.append(Token(kind, found, spaced, upright))
        spaced = False


def _is_rest_of_thousands(digits: str, spaced: bool, tokens: list[Token]) -> bool:
    """Whether 000 stands behind the comma of 135,000, which is no list of 135 and 0."""
    padded = digits.startswith("0") and len(digits) > 1 and digits[1] != "."
    return padded and not spaced and bool(tokens) and tokens[-1].text == ","


def _styled(
    command: str, text: str, at: int, thousands: bool, tokens: list[Token], context: tuple[str, bool, int]
) -> int:
    """Scan the argument of a font, text or accent command; the position after it."""
    style, spaced, depth = context
    content, end = _argument(text, at)
    if command in _TEXT_STYLES or command in _UPRIGHT_STYLES:
        first = len(tokens)
        _scan(content, thousands, "text" if command in _TEXT_STYLES else "upright", tokens, depth + 1)
        if len(tokens) > first:
            tokens[first] = tokens[first]._replace(spaced=spaced or tokens[first].spaced)
    elif command in _PLAIN_STYLES or (command in _BOLD and re.search(r"\d|\\", content)):
        _scan(content, thousands, style, tokens, depth + 1)
    elif command in _BOLD and len(content.strip()) > 1:
        tokens.append(Token("word", content.strip(), spaced, True))
    else:
        name = _SAME_ACCENT.get(command, "mathbf" if command in _BOLD else command)
        if content.strip().isdigit():
            raise UnreadError("an accent on a number")
        if name in ("hat", "vec", "mathbf") and (unit_vector := _UNIT_VECTOR.fullmatch(content)):
            name, content = "hat", unit_vector[1]
        if name == "mathbf" and content.strip() in ("R", "Z", "N", "Q", "C") and _follows_membership(tokens):
            name = "mathbb"
        tokens.append(Token("letter", f"\\{name}{{{''.join(content.split())}}}", spaced))
    return end


def _follows_membership(tokens: list[Token]) -> bool:
    return bool(tokens) and tokens[-1].text in (r"\in", r"\notin")


def _argument(text: str, at: int) -> tuple[str, int]:
    """The braced or single-character argument at `at`, and the position after it."""
    while at < len(text) and text[at] == " ":
        at += 1
    if at >= len(text):
        raise UnreadError("a command without its argument")
    if text[at] != "{":
        command = re.compile(r"\\[A-Za-z]+|.", re.DOTALL).match(text, at)
        assert command is not None
        return command.group(), command.end()
    depth = 0
    for brace in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, at):
        depth += (brace.group() == "{") - (brace.group() == "}")
        if depth == 0:
            return text[at + 1 : brace.start()], brace.end()
    raise UnreadError("unbalanced braces")


def _letters(run: str, style: str, spaced: bool, tokens: list[Token]) -> None:
    """A run of letters: a function, a word, a unit, or a product of variables."""
    lower = run.lower()
    if run in vocabulary.FUNCTIONS and not (run in ("min", "sec") and _is_unit_here(style, tokens)):
        tokens.append(Token("command", "\\" + run, spaced, style != "math"))
    elif lower in vocabulary.NAMES and (len(run) > 2 or run == "pi"):
        tokens.append(Token("command", vocabulary.NAMES[lower], spaced, style != "math"))
    elif len(run) == 1 and run.isascii():
        tokens.append(Token("letter", run, spaced, style != "math"))
    elif style != "math" or _is_word(run):
        tokens.append(Token("word", run, spaced, True))
    else:
        for i, letter in enumerate(run):
            tokens.append(Token("letter", letter, spaced and i == 0))


def _is_unit_here(style: str, tokens: list[Token]) -> bool:
    """Whether min and sec are the minute and the second, and no functions."""
    return style != "math" or bool(tokens and tokens[-1].kind == "number")


def _is_word(run: str) -> bool:
    """Whether a run of letters in mathematics is a word, and not a product of variables."""
    lower = run.lower()
    return (
        len(run) >= 4
        or not run.isascii()
        or lower in vocabulary.SHORT_WORDS
        or run in UNITS
        or (len(run) == 3 and run[0].isupper() and run[1:].islower())
        # The order of ABC and of XIV counts, and that of the factors of AB does not.
        or (run.isupper() and (len(run) == 3 or set(run) <= set("IVX")))
    )
