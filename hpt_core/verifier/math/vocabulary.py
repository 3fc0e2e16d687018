"""The closed classes of words in answers: functions, connectives, numerals, words that change a value."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The set of the words of `text`."""
    return frozenset(text.split())


FUNCTIONS = words(
    "sin cos tan cot sec csc sinh cosh tanh coth sech csch arcsin arccos arctan acot arcsec arccsc "
    "arcsinh arccosh arctanh arsinh arcosh artanh asin acos atan asinh acosh atanh ln log lg exp gcd lcm "
    "max min det deg dim ker arg sgn sign Re Im Tr tr erf sup inf abs floor ceil cbrt"
)
"""Functions that are applied to what follows them, with or without parentheses."""

FUNCTION_LETTERS = frozenset("fghFGHPEO")
"""Letters which, directly before a parenthesis, are an unknown function and not a factor."""

NAMES = {
    "pi": r"\pi",
    "infinity": r"\infty",
    "infty": r"\infty",
    "sqrt": r"\radical",
    "alpha": r"\alpha",
    "beta": r"\beta",
    "gamma": r"\gamma",
    "theta": r"\theta",
    "lambda": r"\lambda",
    "omega": r"\omega",
    "sigma": r"\sigma",
    "phi": r"\phi",
    "mod": r"\mod",
    "choose": r"\choose",
    "cdot": r"\cdot",
    "frac": r"\frac",
}
"""Words that are another spelling of a command."""

AND = frozenset({"and", "und", "et", "e", "y", "и", "和", "与", "及", "以及"})
OR = frozenset({"or", "oder", "ou", "или", "或", "或者"})
CONDITION = frozenset(
    {"if", "for", "when", "where", "with", "whenever", "provided", "otherwise", "else", "as"}
)
COPULA = frozenset({"is", "are", "be", "equals", "equal", "was", "were"})
APPROXIMATELY = frozenset({"approximately", "about", "around", "roughly", "approx", "exactly"})
NO_SOLUTION = frozenset(
    {"no solution", "no solutions", "no real solution", "no real solutions", "empty set", "the empty set"}
)
ALL_REALS = frozenset(
    {"all real numbers", "all reals", "the real numbers", "real numbers", "any real number"}
)

_UP_TO_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
NUMERALS = {word: value for value, word in enumerate(_UP_TO_TWENTY.split())} | {
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "seventy": 70,
    "eighty": 80,
    "ninety": 90,
}


def numeral(text: str) -> int | None:
    """The value of "five" and of "twenty - one"; None for other words."""
    tens, _, ones = text.replace(" - ", " ").partition(" ")
    if not ones:
        return NUMERALS.get(tens)
    if NUMERALS.get(tens, 0) >= 20 and 0 < NUMERALS.get(ones, 0) < 10:
        return NUMERALS[tens] + NUMERALS[ones]
    return None


SHORT_WORDS = words(
    "am pm yes no odd all any not red one two six ten cat dog sun mon tue wed thu fri sat jan feb mar apr "
    "may jun jul aug sep oct nov dec is are be if for or and to of in on at by as the an it its has his "
    "her he she we you they than per via so but nor yet out off own who how why new old big few day boy "
    "man men box car cup hat pen bag toy key bus egg ant bat bee cow fox hen pig rat"
)
"""Words of two and three letters that are no product of variables."""

_CHANGES_THE_VALUE = words(
    "half halves third thirds quarter quarters fourth fourths fifth tenth tenths hundredth hundredths "
    "thousandths percentage points squared cubed square-root root roots factorial times time's power "
    "powers plus minus over by into divided multiplied doubled tripled halved double triple twice thrice "
    "less more fewer greater larger smaller bigger higher lower than at least most up above below under "
    "beyond between through till until per of from and or nor to not no never non except without but only "
    "if when where for whenever unless mod modulo remainder base maybe perhaps possibly probably likely "
    "nope wrong incorrect false otherwise else then instead rather versus vs approximately about almost "
    "nearly is are be was were equals equal plus-or-minus negative positive inverse reciprocal reversed "
    "tens th st nd rd bc bce ago loss losses deficit debt decrease short behind late early "
    "不 非 无 没 以上 以下 左右 多 余 倍 折 "
    "in as with such that which who whose any all every each some"
)


def is_label(word: str) -> bool:
    """Whether `word` after a number can name what is counted.

    Nouns are an open class, so any word can, except those of the closed classes that change a value:
    numerals, operations, comparisons, negations, connectives, and participles and ordinals.
    """
    return not (
        word in _CHANGES_THE_VALUE
        or word in NUMERALS
        or word in CONDITION
        or word in COPULA
        or word in AND
        or word in OR
        or (len(word) > 4 and word.endswith(("ed", "fold", "teen", "ths")))
    )
