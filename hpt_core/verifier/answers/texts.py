"""Text answers in one spelling, and characters in their plain form."""

from __future__ import annotations

import unicodedata

QUOTES = {'"': '"', "“": "”", "'": "'", "‘": "’", "`": "`", "«": "»", "「": "」", "『": "』", "„": "“"}
"""Opening quotation mark -> closing one."""
_RAISED = {ord(c): f"^{digit}" for digit, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")} | {ord("⁻"): "^-", ord("ⁿ"): "^n"}
_LOWERED = {ord(c): f"_{digit}" for digit, c in enumerate("₀₁₂₃₄₅₆₇₈₉")}
_VULGAR = {ord(c): " " + unicodedata.normalize("NFKC", c).replace("⁄", "/") for c in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"}
_DASHES = dict.fromkeys(map(ord, "\u2212\u2010\u2011\u2012\u2013\u2014\u2015\ufe63\uff0d"), "-")
_DISTINCT = _RAISED | _LOWERED | _VULGAR


def plain_characters(text: str) -> str:
    """`text` under NFKC, in which 7² does not become 72, nor 2½ 21/2."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text.translate(_DISTINCT))


def plain_signs(text: str) -> str:
    """`text` with every kind of minus sign and dash as "-"."""
    return text if text.isascii() else text.translate(_DASHES)


def normal(text: str) -> str:
    """`text` in plain characters and lower case, with single spaces, without quotes around it or a stop."""
    folded = (
        " ".join(plain_signs(plain_characters(text)).casefold().split()).removesuffix(".").removesuffix("。")
    )
    while len(folded) > 2 and QUOTES.get(folded[0]) == folded[-1] and folded[-1] not in folded[1:-1]:
        folded = folded[1:-1].strip()
    return folded.removesuffix(".").rstrip()
