# ruff: noqa: RUF001 - the table is of characters that look like others.
"""The LaTeX spelling of Unicode's mathematical characters."""

from __future__ import annotations

import re
import unicodedata

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙᵢₖ", "0123456789+-()nik")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙᵢₖ]+")
_VULGAR_FRACTION = re.compile("[¼½¾⅐-⅞]")

_CHARACTERS = {
    **dict.fromkeys("−–—‒―﹣－‐‑", "-"),
    **dict.fromkeys("×✕✖⨯", r"\times "),
    **dict.fromkeys("·⋅∙•‧", r"\cdot "),
    **dict.fromkeys("≤≦⩽", r"\le "),
    **dict.fromkeys("≥≧⩾", r"\ge "),
    **dict.fromkeys("≈≃", r"\approx "),
    **dict.fromkeys("°º˚", r"^\circ "),
    **dict.fromkeys("′’‘ʹ", "'"),
    **dict.fromkeys('“”„″"', " "),
    **dict.fromkeys("∅∅⌀", r"\emptyset "),
    **dict.fromkeys("…⋯", r"\ldots "),
    **dict.fromkeys("∣｜", "|"),
    **dict.fromkeys("⟨〈", r"\langle "),
    **dict.fromkeys("⟩〉", r"\rangle "),
    **dict.fromkeys("\u00a0\u2002\u2003\u2004\u2005\u2007\u3000\t", " "),
    **dict.fromkeys("\u2009\u200a\u202f\u2006", r"\,"),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),
    **dict.fromkeys("ϕφ", r"\phi "),
    **dict.fromkeys("ϵε", r"\epsilon "),
    "∶": ":",
    "⁄": "/",
    "∕": "/",
    "∗": "*",
    "÷": r"\div ",
    "√": r"\radical ",
    "∛": r"\sqrt[3]",
    "≠": r"\ne ",
    "≡": r"\equiv ",
    "∞": r"\infty ",
    "±": r"\pm ",
    "∓": r"\mp ",
    "∈": r"\in ",
    "∉": r"\notin ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "⊂": r"\subset ",
    "⊆": r"\subseteq ",
    "→": r"\to ",
    "⇒": r"\Rightarrow ",
    "⇔": r"\iff ",
    "∠": r"\angle ",
    "△": r"\triangle ",
    "⊥": r"\perp ",
    "∥": r"\parallel ",
    "∫": r"\int ",
    "∑": r"\sum ",
    "∏": r"\prod ",
    "∂": r"\partial ",
    "⌊": r"\lfloor ",
    "⌋": r"\rfloor ",
    "⌈": r"\lceil ",
    "⌉": r"\rceil ",
    "∧": r"\land ",
    "∨": r"\lor ",
    "¬": r"\neg ",
    "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}",
    "ℕ": r"\mathbb{N}",
    "ℚ": r"\mathbb{Q}",
    "ℂ": r"\mathbb{C}",
    "、": ",",
    "。": ".",
    "％": r"\%",
    "¢": " cents",
    "℃": r"^\circ \mathrm{C}",
    "℉": r"^\circ \mathrm{F}",
    "Ω": r"\Omega ",
    "µ": "\u03bc",
}
_GREEK = (
    "alpha beta gamma delta zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon chi psi omega"
)
for _name in _GREEK.split():
    _CHARACTERS[unicodedata.lookup(f"GREEK SMALL LETTER {'lamda' if _name == 'lambda' else _name}")] = (
        rf"\{_name} "
    )
for _name in ("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega"):
    _CHARACTERS[
        unicodedata.lookup(f"GREEK CAPITAL LETTER {'LAMDA' if _name == 'Lambda' else _name.upper()}")
    ] = rf"\{_name} "
_TRANSLATION = str.maketrans(_CHARACTERS)


def without_unicode(text: str) -> str:
    """`text` with LaTeX in place of Unicode's symbols, raised and lowered digits and fractions."""
    text = _RAISED.sub(lambda m: "^{" + m.group().translate(_SUPERSCRIPTS) + "}", text)
    text = _LOWERED.sub(lambda m: "_{" + m.group().translate(_SUBSCRIPTS) + "}", text)
    text = _VULGAR_FRACTION.sub(_fraction, text)
    text = text.translate(_TRANSLATION)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_TRANSLATION)
    return text


def _fraction(match: re.Match[str]) -> str:
    above, _, below = unicodedata.normalize("NFKC", match.group()).partition("\N{FRACTION SLASH}")
    return rf"\frac{{{above}}}{{{below}}}"
