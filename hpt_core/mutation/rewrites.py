"""Other spellings of a reference answer that mean the same beyond doubt."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hpt_core.mutation import notation, values


class Rewrite(NamedTuple):
    """A right answer in another spelling."""

    change: str
    answer: str


def math_rewrites(answer: str) -> list[Rewrite]:
    """Right answers beside the reference `answer` of the kind math."""
    text = answer.strip()
    made = [Rewrite(name, new) for name, change in _MATH.items() if (new := change(text)) and new != text]
    return list({rewrite.answer: rewrite for rewrite in made}.values())


def number_rewrites(answer: str) -> list[Rewrite]:
    """Right answers beside a number of the kind gsm8k."""
    text = answer.strip()
    changes = {
        "separators": values.separators,
        "trailing zero": values.trailing_zero,
        "unicode": notation.unicode_minus,
    }
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


_MATH: dict[str, Callable[[str], str | None]] = {
    "fraction": notation.display_fractions,
    "small fraction": notation.text_fractions,
    "short fraction": notation.short_fractions,
    "slash": values.slash,
    "spacing": notation.spaces,
    "no spacing": notation.no_spaces,
    "thin spaces": notation.thin_spaces,
    "left and right": notation.left_right,
    "dollars": notation.dollars,
    "inline formula": notation.parentheses_of_latex,
    "display style": notation.display_style,
    "text": notation.text_wrapper,
    "upright text": notation.other_text_command,
    "separators": values.separators,
    "LaTeX separators": values.latex_separators,
    "trailing zero": values.trailing_zero,
    "leading zero": values.leading_zero,
    "unicode minus": notation.unicode_minus,
    "unicode": notation.unicode_symbols,
    "unicode powers": notation.unicode_powers,
    "braces of powers": notation.braces_of_powers,
    "braces of roots": notation.braces_of_roots,
    "set order": values.set_order,
    "without name": values.without_name,
    "without unit": values.without_unit,
    "full stop": notation.full_stop,
}
