"""What the values of a field look like: a problem, a final answer, a worked solution, a mark, a category.

Every test looks at the values alone, so that a data set whose columns have other names is read the same way;
`hpt_core.data.inspection.names` weighs the names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from hpt_core.data.inspection.fields import Field
from hpt_core.data.scripts import letter_runs
from hpt_core.thinking import TAGS, outside_thinking
from hpt_core.verifier.extraction import last_boxed

MOST = 0.8
"""A field is of a kind if so many of its values are."""

_IMPERATIVE = (
    r"(?:find|compute|calculate|determine|evaluate|solve|prove|show|simplify|express|factor|expand|write|give|"
    r"estimate|explain|describe|list|create|name|identify|classify|translate|summari[sz]e|generate|spell|sort|"
    r"verify|how|what|which|who|when|where|why|is|are|does|do|can|state|choose|select|answer|complete|consider)\b"
)
_SETS_A_TASK = re.compile(
    rf"[?\uff1f][\s\"'”)*$}}]*(?:$|\n|\()"
    rf"|(?:^|[.!?,;:]\s+|\n)(?:please |then |hence )?{_IMPERATIVE}"
    rf"|[求问][^。]*[。.?\uff1f]?\s*$",
    re.IGNORECASE,
)
_LETTER = re.compile(r"\(?[A-Z][).]?")
_NUMBER = re.compile(r"[-+\u2212$]?[\d.,/ ]*\d[\d.,/ ]*%?")
_SYMBOL = re.compile(r"[\\^=$√π∞±²³]|\d|^\W*[^\W\d_]\W*$")
_WORD = re.compile(r"(?<![\\A-Za-z])(?!(?:sin|cos|tan|log|exp|sqrt|pi|inf|and|or)\b)[A-Za-z]{3,}")
_TAGGED = re.compile("|".join(map(re.escape, (*TAGS, *TAGS.values(), "<|begin_of_thought|>"))))
_MUSES = re.compile(
    r"\s*(?:okay|ok|alright|hmm|wait|so,|first,? i|let me|let's|the user|i need|we need|i'm)\b",
    re.IGNORECASE,
)
_STATES = re.compile(
    r"\\boxed|\\fbox|####|\banswer(?:\*\*)? ?(?:is|:)|#\s*answer\b|^A:|<answer>|答案",
    re.IGNORECASE | re.MULTILINE,
)
_OPTION = re.compile(r"(?:^|[\s,(\[])\(?([a-jA-J])\s?[).:]")
_OBJECT = re.compile(r"\{\s*['\"]")  # an object that is written out, as metadata may be
_LAST_LINE = re.compile(r"####\s*\S")
_KEY = re.compile(r"[\w./:#@-]{4,}")
_END = 2000
_TAIL = 300
"""Characters at the end of a response in which its answer is looked for."""

_RIGHT = "true yes correct right 1 1.0 pass passed valid complete solution stop eos"
_WRONG = (
    "false no incorrect wrong 0 0.0 -1 -1.0 fail failed invalid incomplete found_error give_up bad_problem \
length max_tokens content_filter"
)
RIGHT = frozenset(_RIGHT.split())
WRONG = frozenset(_WRONG.split())
"""Words with which data sets mark a response, and those of why its writing ended."""


def share(values: Sequence[Any], test: Callable[[Any], Any]) -> float:
    """The share of `values` that pass; 0 of none."""
    return sum(bool(test(value)) for value in values) / len(values) if values else 0.0


def mostly(field: Field, test: Callable[[Any], Any]) -> bool:
    return share(field.present, test) >= MOST


def is_text(field: Field) -> bool:
    return mostly(field, lambda value: isinstance(value, str))


def is_list_of_texts(field: Field) -> bool:
    return mostly(
        field, lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value)
    )


def length(field: Field) -> float:
    """The median length of its texts, in characters."""
    return median(map(len, field.texts)) if field.texts else 0


def words_of(text: str) -> int:
    """How many words a text has, as far as its ends show it."""
    return len(letter_runs(_ends(text)))


def _ends(text: str) -> str:
    """The beginning and the end of a long text, where it asks or states: a trace may fill many pages."""
    return text if len(text) <= 2 * _END else f"{text[:_END]}\n{text[-_END:]}"


def distinct(field: Field) -> float:
    """The number of different values, as a share of all."""
    return len(set(map(repr, field.present))) / len(field.present) if field.present else 0.0


def is_constant(field: Field) -> bool:
    return len(field.present) >= 3 and len(set(map(repr, field.present))) == 1


def asks(text: str) -> bool:
    """Whether a text sets a task: it ends in a question, or a sentence of it is an imperative."""
    return words_of(text) >= 1 and bool(_SETS_A_TASK.search(_ends(text.strip())))


def states_answer(text: str) -> bool:
    """Whether a text announces a final answer: a box, ####, "The answer is"."""
    return bool(_STATES.search(_ends(text)))


def has_thinking(text: str) -> bool:
    """Whether a text holds a model's thinking between tags, or the tag that ends it."""
    return bool(_TAGGED.search(text))


def has_thought_tags(text: str) -> bool:
    """Whether a text has the tags of OpenThoughts around its thoughts."""
    return "<|begin_of_thought|>" in text


def has_gsm8k_marks(text: str) -> bool:
    """Whether a text has the mark-up of GSM8K: calculations in <<...>>, or a last line "#### 72"."""
    return "<<" in text or bool(_LAST_LINE.match(text.strip().rpartition("\n")[2].strip()))


def muses(text: str) -> bool:
    """Whether a text begins as the thinking of a model does: "Okay, let me see"."""
    return bool(_MUSES.match(text))


def is_letter(value: Any) -> bool:
    return isinstance(value, str) and bool(_LETTER.fullmatch(value.strip()))


def is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) or (
        isinstance(value, str) and bool(_NUMBER.fullmatch(value.strip()))
    )


def is_formula(value: Any) -> bool:
    """Whether a short text is a number or mathematics rather than words."""
    if not isinstance(value, str) or is_number(value):
        return is_number(value)
    text = value.strip()
    marked = any(sign in text for sign in "\\^=$")
    return bool(_SYMBOL.search(text)) and (marked or not _WORD.search(text))


def is_short(value: Any) -> bool:
    """Whether a value can be a final answer: a number, a formula or a few words on one line."""
    if isinstance(value, list):
        return 0 < len(value) <= 5 and all(isinstance(item, str) and is_short(item) for item in value)
    if isinstance(value, str):
        text = value.strip()
        return 0 < len(text) <= 200 and "\n" not in text and words_of(text) <= 12 and not _OBJECT.match(text)
    return is_number(value)


def is_mark(value: Any) -> bool:
    """Whether a value says right or wrong: true, "Yes", 1, 0.97."""
    if isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return -1 <= value <= 1
    return isinstance(value, str) and value.strip().lower() in RIGHT | WRONG


def is_category(field: Field) -> bool:
    """Whether few different words are repeated, as those of a topic, a source or a type are."""
    if len(field.present) < 3 or not is_text(field) or mostly(field, is_formula):
        return False
    return distinct(field) <= 0.5


def is_identifier(field: Field) -> bool:
    """Whether the values number the rows, or are keys, hashes, addresses."""
    values = field.present
    if values and all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return len(values) > 2 and len({b - a for a, b in pairwise(values)}) == 1
    return distinct(field) == 1 and share(field.texts, _is_key) >= MOST


def lists_options(text: str) -> bool:
    """Whether a text lists lettered choices: "(A) ... (B) ...", "a ) ... , b ) ..."."""
    return {"a", "b"} <= option_letters(text)


def option_letters(text: str) -> set[str]:
    """The letters of the options that a text lists, in lower case."""
    return {letter.lower() for letter in _OPTION.findall(text)}


def _is_key(text: str) -> bool:
    has_digit, has_letter = any(c.isdigit() for c in text), any(c.isalpha() for c in text)
    return has_digit and has_letter and bool(_KEY.fullmatch(text))


def concludes(response: str, answer: Any) -> bool:
    """Whether `response` ends in `answer`: in its last box, or in its last words."""
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, str | int | float) or isinstance(answer, bool):
        return False
    wanted, stated = _plain(str(answer)), outside_thinking(response) or response
    if not wanted:
        return False
    boxed = last_boxed(stated)
    if boxed is not None:
        return _plain(boxed).replace(" ", "") == wanted.replace(" ", "")
    tail = _plain(stated[-_TAIL:])
    return bool(re.search(rf"(?<![\w.]){re.escape(wanted)}(?!\w|\.\d)", tail))


def _plain(text: str) -> str:
    text = re.sub(r"\\(?:left|right|,|!|;)|\\text\{[^{}]*\}|\$", "", text.replace("dfrac", "frac"))
    return " ".join(text.casefold().removesuffix(".").split())
