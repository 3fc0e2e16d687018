"""Changes of one character, unit or element that make a reference answer another one beyond doubt."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from hpt_core.mutation import names, numbers, signs, units
from hpt_core.mutation.tokens import Mutant, Token, is_unsure, replaced, tokens

PER_CHANGE = 8
"""Mutants of one kind of change that are made of an answer."""

_WORDS = re.compile(r"(?=.*[A-Za-z]{3})[A-Za-z]+(?:[ '-][A-Za-z]+)*\.?")
_ONE_NUMBER = re.compile(r"\$?[-+]?[1-9]\d{0,2}(?:\{?,\}?(?:\\!)?\s?\d{3})+(?:\.\d+)?\$?")
"""A number with thousands separators, whose commas separate no list."""
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def math_mutants(answer: str) -> list[Mutant]:
    """Wrong answers beside the reference `answer` of the kind math.

    `tokens.is_unsure` names the answers of which only the units are changed.
    """
    found = tokens(answer)
    if _is_text(answer, found):
        return text_mutants(answer)
    if _ONE_NUMBER.fullmatch(answer.strip()):
        return number_mutants(answer)
    made = list(units.mutants(answer, found))
    if not is_unsure(answer):
        made += [
            *numbers.mutants(answer, found),
            *signs.mutants(answer, found),
            *names.letter_mutants(answer, found),
            *names.element_mutants(answer, found),
        ]
    return _limited(answer, made)


def text_mutants(answer: str) -> list[Mutant]:
    """Wrong answers beside a text: another letter at the start of its longest word, and other digits."""
    bare = re.sub(r"\\[A-Za-z]+", lambda command: " " * len(command.group()), answer)
    words = sorted(re.finditer(r"[A-Za-z]+", bare), key=lambda word: -len(word.group()))
    letters = [
        Mutant(
            "letter",
            replaced(answer, word.start(), word.start() + 1, names.other_letter(word.group()[0], answer)),
        )
        for word in words[:1]
    ]
    return _limited(answer, [*letters, *_other_digits(answer, bare)])


def choice_mutants(letter: str) -> list[Mutant]:
    """The choice before `letter` and the one after it."""
    at = _ALPHABET.index(letter)
    return [Mutant("letter", _ALPHABET[i]) for i in (at - 1, at + 1) if 0 <= i < len(_ALPHABET)]


def number_mutants(answer: str) -> list[Mutant]:
    """Wrong answers beside one number: other digits, and the other sign."""
    made = _other_digits(answer, answer)
    if re.search(r"[1-9]", answer):
        sign = re.match(r"[^\d.]*?([-\N{MINUS SIGN}])", answer)
        number = re.search(r"[\d.]", answer)
        start = sign.start(1) if sign else number.start() if number else 0
        made.append(Mutant("sign", replaced(answer, start, start + bool(sign), "" if sign else "-")))
    return _limited(answer, made)


def _other_digits(answer: str, where: str) -> list[Mutant]:
    """Another digit for each one that `where`, a text as long as the answer, has."""
    return [
        Mutant("digit", replaced(answer, digit.start(), digit.end(), numbers.other_digit(digit.group())))
        for digit in re.finditer(r"[0-9]", where)
    ]


def _is_text(answer: str, found: list[Token]) -> bool:
    """Whether the answer is one letter, or words without a formula around them."""
    if len(found) == 1 and (found[0].role == "text" or found[0].is_letter):
        return units.other_unit(found[0].text) is None
    return _WORDS.fullmatch(answer.strip()) is not None


def _limited(answer: str, made: Iterable[Mutant]) -> list[Mutant]:
    """The first PER_CHANGE different mutants of each change."""
    counts: Counter[str] = Counter()
    kept: list[Mutant] = []
    for mutant in dict.fromkeys(made):
        counts[mutant.change] += 1
        if counts[mutant.change] <= PER_CHANGE and mutant.answer != answer:
            kept.append(mutant)
    return kept
