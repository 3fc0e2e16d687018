"""Which answer a response states, and which one a reference.

Conventions, each in a module of its own: boxes, marks (tags, JSON, ####), statements in words, formulas,
choice. The one that ends last in the response holds, so that a correction replaces what it corrects. What is
returned is the text as it is written; whether it is one answer, several or none is decided by what reads it.

Every pattern is anchored or has bounded repetition, and braces are matched with one stack, so the time is
linear in the length of any response.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hpt_core.thinking import outside_thinking
from hpt_core.verifier import answers
from hpt_core.verifier.extraction import choice, marks, passages, statements
from hpt_core.verifier.extraction.boxes import Stated, is_placeholder, last_box, last_boxed
from hpt_core.verifier.extraction.formulas import closing_formula
from hpt_core.verifier.extraction.references import stated_reference

__all__ = ["extract_answer", "last_boxed", "reference_answer", "unwrap_text"]

_WRAPPED = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\{([^{}]*)\}")
_A_COLON = re.compile(r"^[ \t*]{0,8}A:\*{0,2}", re.MULTILINE)
_ITEM = re.compile(r"\d{1,2}[.)]\s+[A-Za-z]{2}")
_HEADING = re.compile(r"[^\W\d]+\s?\d{0,3}\s?[:.]|[^\W\d]{2,}[^\d=]*$")
"""What stands after #### where it is a heading in Markdown: "2. Compute ...", "Step 2: ...", "Note"."""
_FORMULA_START = re.compile(
    r"[\s*~≈]*(?:[-+\u2212\u2013$\\({\[|√∞π±]|\.?\d|[A-Za-z](?:_\w+)?\s*[=∈<>≤≥]|[A-Za-z]\W*$)"
)
_PROSE = re.compile(r"[^\W\d_]{2,}(?:['’]\w+)?,?\s+[^\W\d_]+")
_PROSE_END = re.compile(
    r".*(?:\b(?:is|are|was|equals?|be|get|have|obtain)|=|:)\s+"
    r"(?P<answer>[-−–]?[\w.,$\\{}/^()+-]{1,60}(?:\s[\w%\\]{1,20})?)"
)
_LEADS_TO = re.compile(
    r"(?:\b(?:is|are|was|equals?|be|get|have|obtain|gives?|values|roots|solutions)|=|:)\s*$", re.IGNORECASE
)
_RETRACTION = re.compile(
    r"""(?:^|[.!?:;,\n])\W*
        (?: scratch\sthat | oops | correction:
          | i\smade\san?\s(?:mistake|error)
          | (?:that|this)(?:'s|\sis|\swas)\s(?:wrong|incorrect|not\s(?:right|correct)) )\b""",
    re.IGNORECASE | re.VERBOSE,
)
_RETRACTED_WITHIN = 300


def extract_answer(response: str, kind: str) -> str | None:
    r"""The answer that `response` states under the conventions of `kind`; None when it states none.

    Thinking states no answer: what stands in <think>...</think> is not read, and a response that is cut off
    within its thinking has no answer. Then the last of these, placeholders ("your answer") left out:
    \boxed{...} (several that only commas, "and" or "or" set apart are one answer), <answer>...</answer>, the
    key "answer" of a JSON object, the line after #### (gsm8k; others: in the last line), `Answer: ...` and
    `The answer is ...` in any of the languages of `words`; for gsm8k also `A: ...`, for choice also
    `Option B`, `I pick B`, `B is correct`.
    Without one: the formula that ends the last line (math), the last line (exact; choice, if it names one),
    the last `(C)` (choice), a response of a single line as a whole.
    """
    stated = outside_thinking(response)
    return None if stated is None else _extract(stated, kind)


def reference_answer(gold: str, kind: str) -> str:
    """The answer that a reference states, which may be a worked solution; "" for a kind that finds none."""
    if kind == "math":
        return stated_reference(gold)
    return _extract(gold, kind) or "" if kind in ("gsm8k", "choice") else gold


def unwrap_text(answer: str) -> str:
    r"""`answer` without an enclosing \text{...} or similar command."""
    match = _WRAPPED.fullmatch(answer)
    return match.group(1).strip() if match else answer


def _extract(text: str, kind: str) -> str | None:
    marked = _marked(text, kind)
    if marked is not None and kind.startswith("reasoning_gym:"):
        return marked.text  # The prompts of these tasks ask for a mark.
    stated = _announced(text, kind, marked.end if marked else 0, after_mark=marked is not None) or marked
    if stated is None:
        rules = _FALLBACKS.get(kind, (_box_or_sole_line,))
        return next((answer for rule in rules if (answer := rule(text))), None)
    if _RETRACTION.search(text, stated.end, stated.end + _RETRACTED_WITHIN):
        return None
    return stated.text


def _marked(text: str, kind: str) -> Stated | None:
    """The last answer in a box, in tags, in JSON or after ####."""
    box, hashes = last_box(text), _after_hashes(text, kind)
    if box is not None and kind != "math":
        box = Stated(box.start, box.end, unwrap_text(box.text))
    enclosed = [
        _inner(stated, kind) for stated in (marks.last_tagged(text), marks.last_in_json(text)) if stated
    ]
    found = [box, *enclosed, _inner(hashes, kind) if hashes and kind != "gsm8k" else hashes]
    counted = [stated for stated in found if stated is not None and _counts(stated.text, kind)]
    return max(counted, key=lambda stated: stated.end, default=None)


def _inner(stated: Stated, kind: str) -> Stated:
    """What tags, JSON or #### enclose, which may be a sentence or a box; a text is taken as it is."""
    if kind not in ("math", "gsm8k", "choice") and "boxed{" not in stated.text:
        return Stated(stated.start, stated.end, passages.plain(stated.text)) if kind == "exact" else stated
    return Stated(stated.start, stated.end, _extract(stated.text, kind) or stated.text)


def _after_hashes(text: str, kind: str) -> Stated | None:
    """The text after the last #### that is no heading; of other kinds than gsm8k, only at the very end."""
    for line in marks.hash_lines(text):
        if kind != "gsm8k" and text[line.end :].strip():
            return None
        if line.text and not _ITEM.match(line.text):
            if kind == "gsm8k" and answers.number(line.text) is not None:
                return line
            if not _HEADING.match(line.text):
                return line
    return None


def _announced(text: str, kind: str, since: int, after_mark: bool) -> Stated | None:
    """The last answer that is announced in words after `since`."""
    if since and not text[since:].strip("$.)]\\*\n "):
        return None
    best = _OWN_WORDS[kind](text, since) if kind in _OWN_WORDS else None
    for announcement in statements.announcements(text, since, choices=kind == "choice"):
        if best is not None and best.start > announcement.content:
            return best
        if kind == "choice" and choice.is_list(text, announcement.content):
            continue
        passage = passages.content(text, announcement.content)
        answer = _answer_in(passage, kind, announcement.is_label)
        if not answer or is_placeholder(answer):
            continue
        if _counts(answer, kind) and (
            announcement.is_label or not after_mark or _FORMULA_START.match(answer)
        ):
            end = announcement.content + max(passage.find(answer), 0) + len(answer)
            return Stated(announcement.start, end, answer)
    return best


def _counts(answer: str, kind: str) -> bool:
    """True if `answer` is one of `kind`, readable or not; other text announces nothing that is asked for."""
    if kind == "choice":
        return bool(answers.choices(answer))
    if kind == "gsm8k":
        return any(c.isdigit() for c in answer)
    return bool(answer)


def _answer_in(passage: str, kind: str, is_label: bool) -> str | None:
    if kind == "math":
        stated = passages.without_reason(passages.sentence(passage, factorials=True))
        return _formula_in(stated, is_label)
    if kind == "gsm8k":
        return passages.sentence(passage)
    return passage if is_label or kind == "choice" else passages.without_reason(passages.sentence(passage))


def _formula_in(sentence: str, is_label: bool) -> str | None:
    """The answer in a sentence: the whole, or what stands after "is" or "=" at the end of prose."""
    if _FORMULA_START.match(sentence) or not _PROSE.match(sentence):
        return sentence
    formula = closing_formula(sentence)
    if formula is not None:
        return formula if _LEADS_TO.search(sentence[: sentence.find(formula)].rstrip("$( \\[")) else sentence
    end = _PROSE_END.fullmatch(sentence)
    if end is not None:
        return end["answer"]
    return sentence if is_label else None


def _phrased_choice(text: str, since: int) -> Stated | None:
    return next((phrase for phrase in choice.phrases(text, since) if answers.choices(phrase.text)), None)


def _last_a_colon(text: str, since: int) -> Stated | None:
    """The last line that begins with `A:`, as in GSM8K's published solutions of models."""
    if "A:" not in text:
        return None
    last = max((match.end() for match in _A_COLON.finditer(text, since)), default=-1)
    if last < 0:
        return None
    passage = passages.content(text, last)
    return Stated(last, last + len(passage), passages.sentence(passage))


def _last_line(text: str) -> str | None:
    return passages.plain(text.rstrip().removesuffix("```").rstrip().rpartition("\n")[2]) or None


def _box_or_sole_line(text: str) -> str | None:
    """A box that holds no answer of this kind, so that the verdict shows it; else a response of one line."""
    return last_boxed(text) or _sole_line(text)


def _sole_line(text: str) -> str | None:
    stripped = text.strip()
    return stripped if "\n" not in stripped else None


_OWN_WORDS: dict[str, Callable[[str, int], Stated | None]] = {
    "gsm8k": _last_a_colon,
    "choice": _phrased_choice,
}
_FALLBACKS: dict[str, tuple[Callable[[str], str | None], ...]] = {
    "math": (closing_formula, _sole_line),
    "exact": (_last_line,),
    "choice": (choice.last_line, choice.last_parenthesised, _box_or_sole_line),
}
