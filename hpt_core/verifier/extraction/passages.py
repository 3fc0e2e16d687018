"""How far a stated answer reaches: a line, a sentence, a formula over several lines; and its plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hpt_core.verifier.answers.texts import QUOTES
from hpt_core.verifier.words import AND_OR, any_of

WINDOW = 4000
"""Number of characters after an announcement in which its answer is read."""

SENTENCE = 1000
"""Number of characters within which a sentence must end."""

_BLOCKS = (("$$", "$$"), (r"\[", r"\]"), ("```", "```"), ("$\n", "$"))
_ENVIRONMENT = re.compile(r"\\begin\{((?:equation|align|gather|aligned|multline)\*?)\}")
_LEAD = re.compile(r"(?:\s|\*\*|__|[*_](?=\w)|\*(?=\s)|>(?=\s)|-{3,}(?=\s)|[\u2022\u2705\U0001f449](?=\s))*")
_JOINED = re.compile(
    rf"\s*,?\s*(?:\*\*)?(?:{any_of(AND_OR)})(?![A-Za-z])|\s*,\s*(?=[$\\\d-])|[ \t]*[,;]", re.IGNORECASE
)
_LANGUAGE = re.compile(r"\s*\w*\s*")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(.])(?:[A-Za-z]|mr|mrs|ms|dr|st|prof|sr|jr|no|vs|etc|approx|ca|mt|ft|gen|col|rev|inc|ltd|co|corp|dept"
    r"|fig|eq|i\.e|e\.g)$",
    re.IGNORECASE,
)
_STOP = re.compile(r"[.?]+(?=[\s*\"”’')]|$)|[。？！]|;\s|\s[—–]\s(?=[a-z])|(?<=[\d$)a-z])!(?=\s*$)")
# Formulas have no white space within their dollars and no digit behind them, unlike "$5 and $7".
_FORMULA = re.compile(r"\\\$|\$(?=\S)[^$\n]*?(?<=[^\s\\])\$(?!\d)|\\\([^\n]*?\\\)|\\\[[^\n]*?\\\]")
_REASON = re.compile(
    r",?\s+(?:since|because|weil|denn|car|parce que|porque|perché)\s|,\s+(?:which|as|so)\s"
    r"|,?\s*(?:因为|因為|так как)"
)
_EMPHASIS = re.compile(r"(?<![\w*])(\*\*|__(?![A-Za-z]\w*__)|\*)(?=\S)([^\n]{1,400}?)(?<=\S)\1(?![\w*])")
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
    """The formula or fence that begins `window`, with what is joined to it; None without one that ends."""
    environment = _ENVIRONMENT.match(window)
    if environment is not None:
        inside, closed, _ = window[environment.end() :].partition(rf"\end{{{environment[1]}}}")
        return inside.strip() if closed else None
    for opening, closing in _BLOCKS:
        if window.startswith(opening):
            end = window.find(closing, len(opening))
            if end < 0:
                return None
            if opening == "```":
                language, _, code = window[len(opening) : end].partition("\n")
                return (
                    code if _LANGUAGE.fullmatch(language) and code.strip() else f"{language}\n{code}"
                ).strip()
            block, rest = window[: end + len(closing)], window[end + len(closing) :]
            # "$$1$$ or $$2$$" may stand on several lines.
            further = rest.partition("\n\n" if _JOINED.match(rest) else "\n")[0]
            return f"{block}{further}".strip().rstrip(".。")
    return None


def plain(text: str) -> str:
    """`text` without Markdown emphasis around it or its parts, and without enclosing quotes."""
    text = text.strip()
    if len(text) > 2 and text[0] == text[-1] == "`" and "`" not in text[1:-1]:
        return text[1:-1].strip()
    if "*" in text or "_" in text:
        text = _EMPHASIS.sub(r"\2", text)
        for mark in ("**", "__"):
            if text.count(mark) == 1:
                stop = "." if text.endswith(f"{mark}.") else ""
                text = text.removeprefix(mark).removesuffix(stop).removesuffix(mark) + stop
    text = text.strip()
    while len(text) > 1:
        body = text.removesuffix(".")
        closing = QUOTES.get(body[0])
        if closing is None or len(body) < 2 or body[-1] != closing or closing in body[1:-1]:
            break
        text = body[1:-1].strip()
    return text


def sentence(text: str, factorials: bool = False) -> str:
    """The first sentence of `text`, without its stop; one in a formula or an abbreviation does not end it.

    With `factorials`, "5!" at its end is the factorial of 5, else an exclamation.
    """
    text = text[:SENTENCE]
    for stop in _outside_formulas(_STOP, text):
        before = text[: stop.start()]
        abbreviated = stop.group() == "." and _ABBREVIATION.search(before[-12:]) is not None
        if factorials and stop.group() == "!" and before[-1:] not in ("$", ")"):
            continue
        if stop.group().startswith("..") or (abbreviated and text[stop.end() :].strip()):
            continue
        if "?" in stop.group() or "？" in stop.group():
            return ""  # A question states nothing.
        text = before
        break
    return _COPULA_AT_END.sub("", text.strip())


def without_reason(text: str) -> str:
    """`text` up to "since" or "because", unless the reason ends in an equation with another result."""
    for reason in _outside_formulas(_REASON, text):
        answer, why = text[: reason.start()].strip(), text[reason.end() :].strip(" .$")
        result = why.rpartition("=")[2].strip() if "=" in why else None
        return answer if result in (None, answer.strip("$ ")) else text
    return text


def _outside_formulas(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    formulas = [formula.span() for formula in _FORMULA.finditer(text)]
    for match in pattern.finditer(text):
        if not any(start < match.start() < end - 1 for start, end in formulas):
            yield match
