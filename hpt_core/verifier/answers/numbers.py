"""The one number that a short text states, in any usual spelling, with a unit or a reason beside it.

The text around the number may be prose, but nothing in it may change the number: another number, an operator,
"or", "at least", "not", "squared". Where a word or sign does, the text states no number.
"""

from __future__ import annotations

import re
from fractions import Fraction

from hpt_core.verifier.answers.spelling import plain_number
from hpt_core.verifier.words import REASONS, any_of

_MAX_DIGITS = 100  # Python refuses to parse integers of thousands of digits, and no answer has them.
_MAX_LENGTH = 1000

_CURRENCY = r"(?:[$€£¥₹₩₽₫฿₱]|US\$|USD|EUR|GBP|Rs\.?|INR|RMB|CNY|JPY)"
_NUMBER = re.compile(
    rf"""
    (?<![A-Za-z0-9_.,:^/])
    (?P<sign> (?<![\w)\]]) (?: [-+](?=[\d.]|{_CURRENCY}[\d.])   # -70 after any word
                             | (?<![\w)\]]\s)[-+]               # - 70 at the beginning
                             | \b(?:minus|negative)\b ) \s{{0,2}} )?
    (?: {_CURRENCY} \s? )?
    (?P<inner> [-+] \s? )?
    (?: (?: (?P<whole> \d{{1,100}} ) \s (?:and\s)? )?
        (?P<above> \d{{1,100}} ) \s?/\s? (?P<below> \d{{1,100}} )
      | (?P<dotted> \d{{1,3}}(?:\.\d{{3}})+,\d{{1,2}} | \d{{1,3}}(?:\.\d{{3}}){{2,}} )
      | (?=\.?\d)
        (?P<integer> \d{{1,3}}(?:,\d{{3}})+ | \d{{1,3}}(?:\s\d{{3}})+ | \d{{1,3}}(?:['’_]\d{{3}})+ | \d+ )?
        (?P<decimals> \.\d{{0,100}} )?
        (?: [eE](?P<e> [-+]?\d{{1,3}} ) | \s?[×x*]\s?10\s?\^\s?(?P<ten> [-+]?\d{{1,3}} ) )?
    )
    (?! [\d_^:!'’] | [.,]\d | \.\. | \s?[×*+^=<>|] | \s?/\s?\d | \s?-\s?\d )
    """,
    re.VERBOSE,
)
_MULTIPLIERS = {
    **{"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12},
    **{"k": 1000, "百": 100, "千": 1000, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8},
}
_MULTIPLIER = re.compile(
    r"\s{0,2}(dozen|hundred|thousand|million|billion|trillion)s?\b|(?<=\d)([kK])(?![A-Za-z0-9])|\s?([百千万萬亿億])"
)
_ATTACHED = re.compile(r"[A-Za-z]+")
_SYMBOLS = frozenset({"pi", "sqrt", "log", "ln", "sin", "cos", "tan", "xy", "ab", "bn", "mn"})
_UNITS_OF_ONE_LETTER = frozenset("gmshlLcC")
_UNIT_POWER = re.compile(r"(?<=[A-Za-z])\^?[23](?![\d.\w])")

_BOUNDS = (
    *("than", "least", "most", "over", "under", "above", "below", "between", "up to", "within", "almost"),
    *("nearly", "exceed", "exceeds", "exceeding", "until", "before", "after", "beyond", "except"),
    *(
        "excluding",
        "without",
        "half",
        "twice",
        "thrice",
        "double",
        "triple",
        "root",
        "sqrt",
        "log",
        "ln",
        "square",
    ),
    *("cube", "less", "plus", "times", "or", "either", "neither", "nor", "unless", "maybe", "perhaps"),
    *("possibly",),
)
_LEAD_CHANGES = re.compile(
    rf"""(?: \b(?:{any_of(_BOUNDS)})\s+ (?:(?:of|about|the|a|an)\s+)*
           | (?: \b(?:not|never|no|cannot) | n't ) \s+ (?:\w+\s+){{0,2}}
           | \bbut\s+ | \b(?:minus|negative)\b [^(]* | [-+±∓*/^<>×÷·!|\\_√∛π] \s* [(\[]? | [A-Za-z]\(
         )$""",
    re.IGNORECASE | re.VERBOSE,
)
_OPERATORS_IN_WORDS = (
    *("or", "and", "to", "through", "till", "until", "plus", "minus", "squared", "cubed", "factorial"),
    *("remainder", "r", "mod", "modulo", "choose", "point", "over", "but", "not", "if", "unless", "half"),
    *("halves", "percent of", "oder", "ou", "bis", "third", "thirds", "fourth"),
    *("fourths", "fifth", "fifths", "sixths", "eighths", "tenth", "tenths", "hundredth", "hundredths"),
    *("thousandth", "thousandths"),
)
_WORDS_FOR_NUMBERS = (
    *("a", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "fifteen", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
)
_MULTIPLIERS_NOT_READ = (
    r"millon\w*|millionen|milliard\w*|mrd|mio|bn|mn|milioni?|milh\w+|mil|mille|tausend\w*|hundert\w*|тысяч\w*"
    r"|миллион\w*|миллиард\w*|lakhs?|crores?|gross|grand"
)
_TAIL_CHANGES = re.compile(
    rf"""^\s* (?:{any_of(_OPERATORS_IN_WORDS)}) \b
      | ^\s? (?: 或 | 到 | 至 | 和 | [xyznktiepqrbcd](?![\w'’./]) )
      | \b(?:less|fewer|more|greater)\sthan\b | \bor\s(?:more|less|fewer|so)\b
      | \b(?:below|negative|incorrect|wrong)\b | n't\b
      | \band\s(?:{any_of(_WORDS_FOR_NUMBERS)})\b | \b(?:{_MULTIPLIERS_NOT_READ})\b
      | ^\s?/\s?[A-Za-z](?![A-Za-z]) | (?<![A-Za-z])[-/](?![A-Za-z])
      | [+*^=<>×÷·!\\_|\#√π∞] | \.\. | …
    """,
    re.IGNORECASE | re.VERBOSE,
)

_ASIDE = re.compile(
    rf"[.;!?](?:\s|$)|\s?[(\[]|,\s|\s(?:{any_of(REASONS)}|i\.e\.)(?!\w)|\s-{{1,3}}\s(?!\d)|[。，；（]",
    re.IGNORECASE,
)
_REASONED = re.compile(rf"\d.*?(?:[,;]\s|\b(?:{any_of(REASONS)}|or|and|if)\b)", re.IGNORECASE)
_CHANGES_MIND = re.compile(
    r"\b(?:or (?:more|less|so|fewer|greater)|at least|at most|wrong|incorrect)\b", re.IGNORECASE
)
_OFFERS = re.compile(
    r"\b(?:or|maybe|perhaps|possibly|alternatively|not|either|otherwise|unless|wrong|incorrect|instead|actually"
    r"|rather|but|could|might|may|no|wait)\b|或",
    re.IGNORECASE,
)
_SECOND = re.compile(r"[,;.!?，；。]\s?[-+$€£(]{0,2}\d")
_RELATION = re.compile(r"[<>≤≥≠]|!=|=/=|\\(?:neq?|leq?|geq?|lt|gt)\b")
_SIMPLE = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d{1,100})")


def number(text: str) -> Fraction | None:
    """The single number in `text`, without currency, unit and percent sign.

    None if there is no number or more than one ("5 hours and 30 minutes", "1/2 of 30"), or if the text says
    something of it that cannot be read ("at least 70", "sqrt(7)", "7.333..."). An equation counts as its
    right-hand side. What stands beside the number as a reason ("72 (48 + 24)", "42, since 40 + 2 = 42") may
    hold numbers, unless its equation has another result.
    """
    if _SIMPLE.fullmatch(text):
        return Fraction(int(text.replace(",", "")))
    text = plain_number(text[:_MAX_LENGTH])
    if _RELATION.search(text) or not any(c.isdigit() for c in text):
        return None
    left, equals, right = text.rpartition("=")
    is_equation = equals and left.count("(") == left.count(")") and _REASONED.search(left) is None
    if not is_equation:
        return _stated(text)
    value = _stated(right)
    return value if value is not None and _stated(left) in (None, value) else None


def _stated(text: str) -> Fraction | None:
    """The number of a text that is no equation, unless what stands around it changes it."""
    found = _NUMBER.search(text)
    if found is None:
        return None
    lead = text[: found.start()]
    if "\\" in lead or _has_digit(lead) or _LEAD_CHANGES.search(lead):
        return None
    value, end = _value(found), found.end()
    while value is not None and (multiplier := _MULTIPLIER.match(text, end)):
        value, end = (
            value * _MULTIPLIERS[(multiplier[1] or multiplier[2] or multiplier[3]).lower()],
            multiplier.end(),
        )
    attached = _ATTACHED.match(text, end)
    if attached and not _is_unit(attached.group()):
        return None
    aside = _ASIDE.search(text, end)
    tail = _UNIT_POWER.sub("", text[end : aside.start() if aside else len(text)])
    if (
        _has_digit(tail)
        or _TAIL_CHANGES.search(tail)
        or (aside and not _supports(text[aside.start() :], value))
    ):
        return None
    return value


def _is_unit(letters: str) -> bool:
    """True if `letters` that touch a number are a unit or an ending (70km, 7th), and no factor (7x, 7pi)."""
    return letters in _UNITS_OF_ONE_LETTER if len(letters) == 1 else letters not in _SYMBOLS


def _value(found: re.Match[str]) -> Fraction | None:
    """The number that `found` spells; None if it has too many digits or divides by zero."""
    if found["below"]:
        if int(found["below"]) == 0:
            return None
        value = int(found["whole"] or 0) + Fraction(int(found["above"]), int(found["below"]))
    elif found["dotted"]:
        value = Fraction(found["dotted"].replace(".", "").replace(",", "."))
    else:
        integer = re.sub(r"\D", "", found["integer"] or "0")
        if len(integer) > _MAX_DIGITS:
            return None
        decimals = (found["decimals"] or "").lstrip(".")
        value = Fraction(f"{integer}.{decimals}") if decimals else Fraction(int(integer))
        value *= Fraction(10) ** int(found["e"] or found["ten"] or 0)
    negative = (found["sign"] or "").strip().lower() in ("-", "minus", "negative")
    return -value if negative != ((found["inner"] or "").strip() == "-") else value


def _supports(aside: str, value: Fraction | None) -> bool:
    """True if what stands beside the number gives a reason for it, and no other answer."""
    if aside.startswith("?"):
        return False
    if not _has_digit(aside):
        return _CHANGES_MIND.search(aside) is None
    if _SECOND.match(aside) or _OFFERS.search(aside):
        return False
    if "=" in aside:
        return number(aside.rpartition("=")[2].rstrip(") .]")) == value
    alone = number(aside.strip("()[] .,;"))
    return alone is None or alone == value or re.search(r"[A-Za-z]", aside) is not None


def _has_digit(text: str) -> bool:
    return any(c.isdigit() for c in text)
