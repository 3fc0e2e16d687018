"""Other spellings of a reference answer that mean the same beyond doubt."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from hpt_core.mutation.tokens import is_plain, items, tokens
from hpt_core.mutation.units import is_unit


class Rewrite(NamedTuple):
    """A right answer in another spelling."""

    change: str
    answer: str


_INTEGER = re.compile(r"(-?)(\d{4,15})")
_GROUPED = re.compile(r"(-?\d{1,3})((?:(?:,|\{,\}|,\\!\s?|\\,)\d{3})+)")
_DECIMAL = re.compile(r"-?\d*\.\d+")
_WHOLE = re.compile(r"-?\d{1,15}")
_FRACTION = re.compile(r"(-?)\\[dt]?frac\s*\{(-?\d+)\}\s*\{(\d+)\}")
_SLASH = re.compile(r"(-?)(\d+)/(\d+)")
_SET = re.compile(r"\\\{(.+)\\\}", re.DOTALL)
_TEXTS = r"\\(?:text|textbf|textit|textrm|mbox|mathrm|operatorname)\s*\{[^{}]*\}"
_WORDS = re.compile(r"\\(text|textbf|mbox|mathrm)\{([A-Za-z][A-Za-z ]+)\}")
_UNICODE = {
    r"\times": "\N{MULTIPLICATION SIGN}",
    r"\cdot": "\N{MIDDLE DOT}",
    r"\pi": "π",
    r"\infty": "∞",
    r"\le": "≤",
    r"\leq": "≤",
    r"\ge": "≥",
    r"\geq": "≥",
    r"\cup": "\N{UNION}",
    r"\theta": "θ",
    r"\pm": "±",
}


def math_rewrites(answer: str) -> list[Rewrite]:
    """Right answers beside the reference `answer` of the kind math."""
    text = answer.strip()
    made = [Rewrite(name, new) for name, change in _MATH.items() if (new := change(text)) and new != text]
    return list({rewrite.answer: rewrite for rewrite in made}.values())


def number_rewrites(answer: str) -> list[Rewrite]:
    """Right answers beside a number of the kind gsm8k."""
    text = answer.strip()
    changes = {"separators": _separators, "trailing zero": _trailing_zero, "unicode": _unicode_minus}
    made = [Rewrite(name, new) for name, change in changes.items() if (new := change(text)) and new != text]
    if text[:1].isdigit():
        made.append(Rewrite("dollars", f"${text}"))
    return [*made, Rewrite("full stop", f"{text}.")]


def choice_rewrites(answer: str) -> list[Rewrite]:
    """Right answers beside a letter of the kind choice."""
    return [
        Rewrite("brackets", f"({answer})"),
        Rewrite("full stop", f"{answer}."),
        Rewrite("text", rf"\text{{{answer}}}"),
        Rewrite("emphasis", f"**{answer}**"),
    ]


def text_rewrites(answer: str) -> list[Rewrite]:
    """Right answers beside a text of the kind exact, which ignores case and white space."""
    made = [Rewrite("case", answer.upper()), Rewrite("case", answer.lower())]
    made.append(Rewrite("spacing", answer.replace(" ", "  ")))
    return [rewrite for rewrite in dict.fromkeys(made) if rewrite.answer != answer]


def _outside_text(answer: str, change: Callable[[str], str]) -> str:
    """The answer with `change` applied to all but its texts."""
    parts = re.split(rf"({_TEXTS}|\\(?:begin|end)\s*\{{[^{{}}]*\}})", answer)
    return "".join(part if i % 2 else change(part) for i, part in enumerate(parts))


def _display_fractions(answer: str) -> str:
    if r"\dfrac" in answer:
        return answer.replace(r"\dfrac", r"\frac")
    return answer.replace(r"\frac", r"\dfrac")


def _text_fractions(answer: str) -> str:
    return re.sub(r"\\d?frac", r"\\tfrac", answer)


def _short_fractions(answer: str) -> str:
    return re.sub(r"(\\[dt]?frac)\{(\d)\}\{(\d)\}", r"\1\2\3", answer)


def _slash(answer: str) -> str | None:
    """A whole answer that is a fraction of integers, with a slash or with LaTeX."""
    if match := _FRACTION.fullmatch(answer):
        return f"{match[1]}{match[2]}/{match[3]}"
    match = _SLASH.fullmatch(answer)
    return rf"{match[1]}\frac{{{match[2]}}}{{{match[3]}}}" if match else None


def _spaces(answer: str) -> str:
    spaced = _outside_text(answer, lambda part: re.sub(r"(?<=[\w)}])([-+=<>])(?=[\w(\\{])", r" \1 ", part))
    return spaced if not re.search(r"\d{4}-\d\d|[A-Za-z]{2}-[A-Za-z]", answer) else answer


def _no_spaces(answer: str) -> str:
    """Without spaces beside operators and brackets; without the one after a comma a list may be a number."""
    if not _has_no_words(answer):
        return answer
    return _outside_text(answer, lambda part: re.sub(r"[ \t]*([-+=(){}])[ \t]*", r"\1", part))


def _thin_spaces(answer: str) -> str:
    return _outside_text(answer, lambda part: re.sub(r"(?<=[\w)}])([+=])(?=[\w(\\])", r"\\,\1\\,", part))


def _has_no_words(answer: str) -> bool:
    """Whether no two letters stand side by side outside of commands and texts, so that all is a formula."""
    return not re.search(r"[A-Za-z]{2}", re.sub(rf"{_TEXTS}|\\[A-Za-z]+", " ", answer))


def _left_right(answer: str) -> str:
    if r"\left" in answer:
        return re.sub(r"\\(?:left|right)(?![A-Za-z])\s*", "", answer) if r"\left." not in answer else answer
    if re.search(r"\[[^\]]*\)|\([^)]*\]|\\sqrt\s*\[", answer) or answer.count("(") != answer.count(")"):
        return answer  # Half-open intervals have brackets of two kinds, and \sqrt[3] has others.
    return _outside_text(answer, lambda part: part.replace("(", r"\left(").replace(")", r"\right)"))


def _dollars(answer: str) -> str | None:
    return f"${answer}$" if "$" not in answer and _has_no_words(answer) else None


def _parentheses_of_latex(answer: str) -> str | None:
    return rf"\({answer}\)" if "$" not in answer and r"\(" not in answer and _has_no_words(answer) else None


def _display_style(answer: str) -> str | None:
    return rf"\displaystyle {answer}" if "$" not in answer and _has_no_words(answer) else None


def _text_wrapper(answer: str) -> str | None:
    """The words of a whole answer, with and without a command around them."""
    if match := _WORDS.fullmatch(answer):
        return match[2]
    return rf"\text{{{answer}}}" if re.fullmatch(r"[A-Za-z]{3,}(?: [A-Za-z]+)*", answer) else None


def _other_text_command(answer: str) -> str:
    return answer.replace(r"\text{", r"\mathrm{") if _WORDS.search(answer) else answer


def _separators(answer: str) -> str | None:
    """An integer with thousands separators, or without."""
    if match := _INTEGER.fullmatch(answer):
        return match[1] + f"{int(match[2]):,}" if match[2][0] != "0" else None
    match = _GROUPED.fullmatch(answer)
    return match[1] + re.sub(r"[^\d]", "", match[2]) if match else None


def _latex_separators(answer: str) -> str | None:
    match = _INTEGER.fullmatch(answer)
    return match[1] + f"{int(match[2]):,}".replace(",", "{,}") if match and match[2][0] != "0" else None


def _trailing_zero(answer: str) -> str | None:
    if _DECIMAL.fullmatch(answer):
        return answer + "0"
    return answer + ".0" if _WHOLE.fullmatch(answer) else None


def _leading_zero(answer: str) -> str | None:
    if re.fullmatch(r"-?0\.\d+", answer):
        return answer.replace("0.", ".", 1)
    return answer.replace(".", "0.", 1) if re.fullmatch(r"-?\.\d+", answer) else None


def _unicode_minus(answer: str) -> str:
    return _outside_text(answer, lambda part: part.replace("-", "\N{MINUS SIGN}"))


def _unicode_symbols(answer: str) -> str:
    def change(part: str) -> str:
        part = re.sub(r"\\sqrt\{(\d+)\}(?![\w(])", r"√\1", part)
        part = re.sub(r"\^\{?\\circ\}?", "°", part)
        return re.sub(r"(\\[A-Za-z]+) ?", lambda m: _UNICODE.get(m[1], m[0]), part)

    return _outside_text(answer, change)


def _unicode_powers(answer: str) -> str:
    """Squares and cubes of a letter as characters."""
    powers = re.compile(r"(?<=[a-z])\^(?:\{([23])\}|([23]))(?!\d)")
    return _outside_text(answer, lambda part: powers.sub(lambda m: "²³"[int(m[1] or m[2]) - 2], part))


def _braces_of_powers(answer: str) -> str:
    braced = re.sub(r"\^([0-9A-Za-z])", r"^{\1}", answer)
    return braced if braced != answer else re.sub(r"\^\{([0-9A-Za-z])\}", r"^\1", answer)


def _braces_of_roots(answer: str) -> str:
    braced = re.sub(r"\\sqrt\s?(\d)", r"\\sqrt{\1}", answer)
    return braced if braced != answer else re.sub(r"\\sqrt\{(\d)\}", r"\\sqrt\1", answer)


def _set_order(answer: str) -> str | None:
    """A set of numbers in the other order."""
    match = _SET.fullmatch(answer)
    if match is None or not all(is_plain(item) for item in items(tokens(match[1]))):
        return None
    return r"\{" + ", ".join(reversed([part.strip() for part in match[1].split(",")])) + r"\}"


def _without_name(answer: str) -> str | None:
    """The value of the one unknown, x = 5."""
    match = re.fullmatch(r"[a-z]\s*=\s*(-?[\d.]+)", answer)
    return match[1] if match else None


def _without_unit(answer: str) -> str | None:
    """A number without its unit, which an answer may leave out."""
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?)(?:\\[ ,;])?\s*(\\[a-z]+\s*\{[^{}]*\})(?:\^\{?\d\}?)?", answer)
    return match[1] if match and is_unit(match[2]) else None


def _full_stop(answer: str) -> str | None:
    return f"{answer}." if not answer.endswith(".") else None


_MATH: dict[str, Callable[[str], str | None]] = {
    "fraction": _display_fractions,
    "small fraction": _text_fractions,
    "short fraction": _short_fractions,
    "slash": _slash,
    "spacing": _spaces,
    "no spacing": _no_spaces,
    "thin spaces": _thin_spaces,
    "left and right": _left_right,
    "dollars": _dollars,
    "inline formula": _parentheses_of_latex,
    "display style": _display_style,
    "text": _text_wrapper,
    "upright text": _other_text_command,
    "separators": _separators,
    "LaTeX separators": _latex_separators,
    "trailing zero": _trailing_zero,
    "leading zero": _leading_zero,
    "unicode minus": _unicode_minus,
    "unicode": _unicode_symbols,
    "unicode powers": _unicode_powers,
    "braces of powers": _braces_of_powers,
    "braces of roots": _braces_of_roots,
    "set order": _set_order,
    "without name": _without_name,
    "without unit": _without_unit,
    "full stop": _full_stop,
}
