"""One spelling for the characters and commands that LaTeX and Unicode write in several ways."""

from __future__ import annotations

import re

from hpt_core.verifier.math.reading.characters import without_unicode

_SAME_COMMAND = {
    "dfrac": "frac",
    "tfrac": "frac",
    "cfrac": "frac",
    "nicefrac": "frac",
    "sfrac": "frac",
    "dbinom": "binom",
    "tbinom": "binom",
    "leq": "le",
    "leqslant": "le",
    "leqq": "le",
    "geq": "ge",
    "geqslant": "ge",
    "geqq": "ge",
    "neq": "ne",
    "lt": "<",
    "gt": ">",
    "ast": "*",
    "cdotp": "cdot",
    "bullet": "cdot",
    "simeq": "approx",
    "thickapprox": "approx",
    "rightarrow": "to",
    "longrightarrow": "to",
    "implies": "Rightarrow",
    "Longrightarrow": "Rightarrow",
    "Leftrightarrow": "iff",
    "wedge": "land",
    "vee": "lor",
    "lnot": "neg",
    "vert": "|",
    "lvert": "|",
    "rvert": "|",
    "lbrace": r"\{",
    "rbrace": r"\}",
    "lbrack": "[",
    "rbrack": "]",
    "varnothing": "emptyset",
    "oslash": "emptyset",
    "dots": "ldots",
    "cdots": "ldots",
    "dotsc": "ldots",
    "varphi": "phi",
    "varepsilon": "epsilon",
    "vartheta": "theta",
    "colon": ":",
    "prime": "'",
    "degree": r"^\circ ",
    "textdegree": r"^\circ ",
    "percent": r"\%",
    "infin": "infty",
    "R": "mathbb{R}",
    "Z": "mathbb{Z}",
    "N": "mathbb{N}",
    "arccot": "acot",
    "tg": "tan",
    "ctg": "cot",
    "arctg": "arctan",
    "bmod": "mod",
}
_DROPPED = (
    "left|right|bigl?|bigr|Bigl?|Bigr|biggl?|biggr|Biggl?|Biggr|middle|displaystyle|textstyle|scriptstyle|"
    "limits|nolimits|tiny|small|normalsize|large|Large|LARGE|huge|Huge|boldmath|rm|bf|it|mathstrut|strut|"
    "nonumber|notag|hfill|mathopen|mathclose|mathrel|mathbin|mathord|mathpunct|mathop"
)
_DROP = re.compile(
    rf"\\(?:left|right)\s*\.|\\(?:{_DROPPED})(?![A-Za-z])|\\(?:text)?color\s*\{{[^{{}}]*\}}|\\tag\*?\{{[^{{}}]*\}}"
    r"|\\ensuremath(?![A-Za-z])"
)
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_SPACE = re.compile(
    r"\\(?:(?:quad|qquad|enspace|space)(?![A-Za-z])|(?:hspace\*?|phantom)\{[^{}]*\})|(?<!\\)\\[ ;:>\n]|~"
)
_WIDE_SPACE = re.compile(r"\\q?quad(?![A-Za-z])")
_LONE_SIGN = re.compile(r"\{([:=,])\}")
_PERCENT = re.compile(r"(?<!\\)%")
_DIGITS_IN_TEXT = re.compile(r"\\(?:text|mathrm)\{([0-9A-F]+)\}(?=_)")
_STOP_IN_TEXT = re.compile(r"\.\s*(\}+)$")
_ENCLOSED = (("$$", "$$"), ("$", "$"), (r"\[", r"\]"), (r"\(", r"\)"), ("**", "**"), ("`", "`"))
_LISTED = re.compile(r"\s*\[\s*([\"'])(.*)\1\s*\]\s*", re.DOTALL)
_PYTHON = re.compile(r"\b(?:np|numpy|math|sp|sympy)\.(?=[a-z])")


def canonical(text: str) -> str:
    """`text` with one spelling for each symbol, without commands that only change its looks.

    A list of one text, as in ["72"], stands for the text, with its backslashes unescaped.
    """
    listed = _LISTED.fullmatch(text)
    if listed and listed[1] not in listed[2]:
        text = listed[2].replace("\\\\", "\\")
    if not text.isascii():
        text = without_unicode(text)
    text = _SPACE.sub(" ", _equations_apart(text))
    text = _LONE_SIGN.sub(lambda m: m[0] if m[1] == "," else m[1], text)
    text = _DIGITS_IN_TEXT.sub(r"\1", _PERCENT.sub(r"\%", text))
    text = _COMMAND.sub(_usual_command, text)
    text = _DROP.sub("", text)
    text = bare(_PYTHON.sub("", text)).replace("**", "^")
    return _STOP_IN_TEXT.sub(r"\1", text)


def _equations_apart(text: str) -> str:
    """Equations that only a wide space separates, as a list."""
    equations = _WIDE_SPACE.split(text)
    listed = len(equations) > 1 and all("=" in equation for equation in equations)
    return ", ".join(equation.rstrip(" ,;") for equation in equations) if listed else text


def bare(text: str) -> str:
    """`text` without the delimiters that enclose all of it, a box, and a final full stop."""
    while True:
        before, text = text, text.strip()
        if text.endswith("\\") and not text.endswith("\\\\"):
            text = text[:-1]  # the rest of "\\ " at the end
        text = text.removesuffix(".").rstrip() if not text.endswith("..") else text
        text = text.rstrip(",;").rstrip() if not text.endswith((r"\,", r"\;")) else text.removesuffix(r"\,")
        for opening, closing in _ENCLOSED:
            inner = text[len(opening) : -len(closing)]
            if (
                text.startswith(opening)
                and text.endswith(closing)
                and len(text) > len(opening) + len(closing)
                and opening not in inner
                and not inner.endswith("\\")
            ):
                text = inner
        if text == before:
            return text


def _usual_command(match: re.Match[str]) -> str:
    usual = _SAME_COMMAND.get(match[1])
    if usual is None:
        return match.group()
    return f"\\{usual}" if usual[0].isalpha() else usual + (" " if usual in "<>*|:" else "")
