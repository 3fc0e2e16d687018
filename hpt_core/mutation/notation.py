"""The same formula in other LaTeX or in Unicode: commands, brackets, spaces, texts, symbols.

Each function takes a whole answer, and gives None or the answer itself where it has nothing to change.
"""

from __future__ import annotations

import re
from collections.abc import Callable

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


def _outside_text(answer: str, change: Callable[[str], str]) -> str:
    """The answer with `change` applied to all but its texts."""
    parts = re.split(rf"({_TEXTS}|\\(?:begin|end)\s*\{{[^{{}}]*\}})", answer)
    return "".join(part if i % 2 else change(part) for i, part in enumerate(parts))


def display_fractions(answer: str) -> str:
    if r"\dfrac" in answer:
        return answer.replace(r"\dfrac", r"\frac")
    return answer.replace(r"\frac", r"\dfrac")


def text_fractions(answer: str) -> str:
    return re.sub(r"\\d?frac", r"\\tfrac", answer)


def short_fractions(answer: str) -> str:
    return re.sub(r"(\\[dt]?frac)\{(\d)\}\{(\d)\}", r"\1\2\3", answer)


def spaces(answer: str) -> str:
    spaced = _outside_text(answer, lambda part: re.sub(r"(?<=[\w)}])([-+=<>])(?=[\w(\\{])", r" \1 ", part))
    return spaced if not re.search(r"\d{4}-\d\d|[A-Za-z]{2}-[A-Za-z]", answer) else answer


def no_spaces(answer: str) -> str:
    """Without spaces beside operators and brackets; without the one after a comma a list may be a number."""
    if not _has_no_words(answer):
        return answer
    return _outside_text(answer, lambda part: re.sub(r"[ \t]*([-+=(){}])[ \t]*", r"\1", part))


def thin_spaces(answer: str) -> str:
    return _outside_text(answer, lambda part: re.sub(r"(?<=[\w)}])([+=])(?=[\w(\\])", r"\\,\1\\,", part))


def _has_no_words(answer: str) -> bool:
    """Whether no two letters stand side by side outside of commands and texts, so that all is a formula."""
    return not re.search(r"[A-Za-z]{2}", re.sub(rf"{_TEXTS}|\\[A-Za-z]+", " ", answer))


def left_right(answer: str) -> str:
    if r"\left" in answer:
        return re.sub(r"\\(?:left|right)(?![A-Za-z])\s*", "", answer) if r"\left." not in answer else answer
    if re.search(r"\[[^\]]*\)|\([^)]*\]|\\sqrt\s*\[", answer) or answer.count("(") != answer.count(")"):
        return answer  # Half-open intervals have brackets of two kinds, and \sqrt[3] has others.
    return _outside_text(answer, lambda part: part.replace("(", r"\left(").replace(")", r"\right)"))


def dollars(answer: str) -> str | None:
    return f"${answer}$" if "$" not in answer and _has_no_words(answer) else None


def parentheses_of_latex(answer: str) -> str | None:
    return rf"\({answer}\)" if "$" not in answer and r"\(" not in answer and _has_no_words(answer) else None


def display_style(answer: str) -> str | None:
    return rf"\displaystyle {answer}" if "$" not in answer and _has_no_words(answer) else None


def text_wrapper(answer: str) -> str | None:
    """The words of a whole answer, with and without a command around them."""
    if match := _WORDS.fullmatch(answer):
        return match[2]
    return rf"\text{{{answer}}}" if re.fullmatch(r"[A-Za-z]{3,}(?: [A-Za-z]+)*", answer) else None


def other_text_command(answer: str) -> str:
    return answer.replace(r"\text{", r"\mathrm{") if _WORDS.search(answer) else answer


def unicode_minus(answer: str) -> str:
    return _outside_text(answer, lambda part: part.replace("-", "\N{MINUS SIGN}"))


def unicode_symbols(answer: str) -> str:
    def change(part: str) -> str:
        part = re.sub(r"\\sqrt\{(\d+)\}(?![\w(])", r"√\1", part)
        part = re.sub(r"\^\{?\\circ\}?", "°", part)
        return re.sub(r"(\\[A-Za-z]+) ?", lambda m: _UNICODE.get(m[1], m[0]), part)

    return _outside_text(answer, change)


def unicode_powers(answer: str) -> str:
    """Squares and cubes of a letter as characters."""
    powers = re.compile(r"(?<=[a-z])\^(?:\{([23])\}|([23]))(?!\d)")
    return _outside_text(answer, lambda part: powers.sub(lambda m: "²³"[int(m[1] or m[2]) - 2], part))


def braces_of_powers(answer: str) -> str:
    braced = re.sub(r"\^([0-9A-Za-z])", r"^{\1}", answer)
    return braced if braced != answer else re.sub(r"\^\{([0-9A-Za-z])\}", r"^\1", answer)


def braces_of_roots(answer: str) -> str:
    braced = re.sub(r"\\sqrt\s?(\d)", r"\\sqrt{\1}", answer)
    return braced if braced != answer else re.sub(r"\\sqrt\{(\d)\}", r"\\sqrt\1", answer)


def full_stop(answer: str) -> str | None:
    return f"{answer}." if not answer.endswith(".") else None
