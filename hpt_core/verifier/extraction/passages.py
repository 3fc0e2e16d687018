"""How far a stated answer reaches: a line, a sentence, a formula over several lines; and its plain text."""

from __future__ import annotations

import re

from hpt_core.verifier.words import AND_OR, any_of

WINDOW = 4000
"""Number of characters after an announcement in which its answer is read."""

SENTENCE = 1000
"""Number of characters within which a sentence must end."""

_BLOCKS = (("$$", "$$"), (r"\[", r"\]"), ("```", "```"), ("$\n", "$"))
_ENVIRONMENT = re.compile(r"\\begin\{(equation|align|gather|aligned|multline)(\*?)\}")
_LEAD = re.compile(r"(?:\s|\*\*|__|[*_](?=\w)|\*(?=\s)|>(?=\s)|-{3,}(?=\s)|[\u2022\u2705\U0001f449](?=\s))*")
_GOES_ON = re.compile(
    rf"\s*,?\s*(?:\*\*)?(?:{any_of(AND_OR)})(?![A-Za-z])[^\n]*"
    r"|\s*,\s*(?=[$\\\d-])[^\n]*|[ \t]*[^\s.。!?][^\n]*",
    re.IGNORECASE,
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(.])(?:[A-Za-z]|mr|mrs|ms|dr|st|prof|sr|jr|no|vs|etc|approx|ca|mt|ft|gen|col|rev|inc|ltd|co|corp|dept"
    r"|fig|eq|i\.e|e\.g)$",
    re.IGNORECASE,
)
_STOP = re.compile(r"[.?]+(?=[\s*\"”’')]|$)|[。？！]|;\s|\s[—–]\s(?=[a-z])|!(?=\s*$)")
# Formulas have no white space within their dollars and no digit behind them, unlike "$5 and $7".
_FORMULA = re.compile(r"\\\$|\$(?=\S)[^$\n]*?(?<=[^\s\\])\$(?!\d)|\\\([^\n]*?\\\)|\\\[[^\n]*?\\\]")
_EMPHASIS = re.compile(r"(?<![\w*])(\*\*|__|\*)(?=\S)([^\n]{1,400}?)(?<=\S)\1(?![\w*])")
_QUOTES = {'"': '"', "“": "”", "'": "'", "‘": "’", "`": "`", "«": "»", "「": "」", "『": "』", "„": "“"}
_COPULA_AT_END = re.compile(r"\s*(?:입니다|이다|이에요|예요|이며|です|である|だ|となります|になります)$")


def content(text: str, start: int) -> str:
    """What is stated from `start` on: a formula or fence of several lines, else the first line with text."""
    window = text[start : start + WINDOW]
    lead = _LEAD.match(window)
    assert lead is not None, "the pattern matches the empty text"
    window = window[lead.end() :]
    block = _block(window)
    if block is not None:
        return block
    line = window.partition("\n")[0].strip()
    return plain(line)


def _block(window: str) -> str | None:
    environment = _ENVIRONMENT.match(window)
    pairs = ((environment.group(), rf"\end{{{environment[1]}{environment[2]}}}"),) if environment else _BLOCKS
    for opening, closing in pairs:
        if window.startswith(opening):
            end = window.find(closing, len(opening))
            if end < 0:
                return None
            if opening == "```":
                # The first line of a fence may name a language.
                inside = window[3:end]
                language, _, code = inside.partition("\n")
                return (code if code.strip() and re.fullmatch(r"\s*\w*\s*", language) else inside).strip()
            block, rest = window[: end + len(closing)], window[end + len(closing) :]
            goes_on = _GOES_ON.match(rest)
            if goes_on is None:
                return block.strip()
            further = goes_on.group()
            # "... or $$7$$" may stand on lines of its own.
            if re.search(r"(?:\$\$|\\\[)\s*$", further):
                further = rest[: rest.find("\n\n") if "\n\n" in rest else len(rest)]
            return f"{block}{further}".strip()
    return None


def plain(text: str) -> str:
    """`text` without Markdown emphasis around it or its parts, and without enclosing quotes."""
    text = text.strip()
    if "*" in text or "_" in text:
        text = _EMPHASIS.sub(r"\2", text)
        for mark in ("**", "__"):
            if text.count(mark) == 1:
                stop = "." if text.endswith(f"{mark}.") else ""
                text = text.removeprefix(mark).removesuffix(stop).removesuffix(mark) + stop
    text = text.strip()
    while len(text) > 1:
        body = text.removesuffix(".")
        closing = _QUOTES.get(body[0])
        if closing is None or len(body) < 2 or body[-1] != closing or closing in body[1:-1]:
            break
        text = body[1:-1].strip()
    return text


def sentence(text: str) -> str:
    """The first sentence of `text`, without its stop; one in a formula or an abbreviation does not end it."""
    text = text[:SENTENCE]
    formulas = [formula.span() for formula in _FORMULA.finditer(text)]
    for stop in _STOP.finditer(text):
        before = text[: stop.start()]
        if any(start < stop.start() < end - 1 for start, end in formulas):
            continue
        abbreviated = stop.group() == "." and _ABBREVIATION.search(before[-12:]) is not None
        if stop.group().startswith("..") or (abbreviated and text[stop.end() :].strip()):
            continue
        text = before
        break
    return _COPULA_AT_END.sub("", text.strip())
