"""Extraction of the answer from a response: a box first, then the conventions of the answer kind.

Every pattern is anchored or has bounded repetition, and braces are matched with one stack, so the time
is linear in the length of any response (with unbalanced braces, of 100,000 characters).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hpt_core.thinking import outside_thinking

_BOX_OR_BRACE = re.compile(r"\\(?:boxed|fbox)[ \t]{0,4}\{|\\.|[{}]", re.DOTALL)
_COLON = re.compile(r"\banswer[*_]{0,3}[ \t]{0,4}[:\uff1a]\*{0,3}", re.IGNORECASE)
_IS = re.compile(r"\banswer[*_]{0,3}[ \t]{1,4}is\b[*_]{0,3}[ \t]{0,4}:?\*{0,3}", re.IGNORECASE)
_HASHES = re.compile(r"####")
_A_COLON = re.compile(r"^[ \t]{0,8}A:", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?:[.?]|(?<!\\)!)(?:\s|$)")  # \! is a space in LaTeX
_LETTER_IN_PARENTHESES = re.compile(r"(?<![A-Za-z0-9])\(([A-Z])\)")
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\{([^{}]*)\}")
_FORMULA = (("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_TAG = ("<answer>", "</answer>")


def extract_answer(response: str, kind: str) -> str | None:
    """The answer that `response` states under the conventions of `kind`; None when it states none.

    Thinking states no answer: what stands in <think>...</think> is not read, and a response that is cut off
    within its thinking has no answer.
    All kinds: the last balanced, non-empty \\boxed{...} or \\fbox{...}. Then, by kind:
    gsm8k: `#### 72`, else the last of `A: 72`, `Answer: 72`, `The answer is 72`;
    choice: the last `Answer: C` or `The answer is C`, else the last `(C)`;
    math, exact and reasoning_gym: the last `Answer: ...`, else the last `The answer is ...`; before
    these, `<answer>...</answer>` for reasoning_gym; after them, the last non-empty line for exact and
    the formula that ends the last line for math.
    A response of a single line counts as its answer.
    """
    stated = outside_thinking(response)
    if stated is None:
        return None
    boxed = last_boxed(stated)
    if boxed is not None:
        return boxed if kind == "math" else unwrap_text(boxed)
    for convention in _CONVENTIONS.get(kind, _TASK):
        answer = convention(stated)
        if answer:
            return answer
    return None


def last_boxed(text: str) -> str | None:
    """Content of the last balanced, non-empty box, innermost if boxes nest; None if there is none."""
    last: tuple[int, int] | None = None  # start and end of the content
    open_braces: list[int | None] = []  # the start of the content for a brace of a box, None for others
    for token in _BOX_OR_BRACE.finditer(text):
        symbol = token.group()
        if symbol == "}":
            start = open_braces.pop() if open_braces else None
            if (
                start is not None
                and (last is None or start > last[0])
                and text[start : token.start()].strip()
            ):
                last = start, token.start()
        elif symbol == "{":
            open_braces.append(None)
        elif symbol[-1] == "{" and len(symbol) > 2:
            open_braces.append(token.end())
    return text[last[0] : last[1]].strip() if last else None


def unwrap_text(answer: str) -> str:
    """`answer` without an enclosing \\text{...} or similar command."""
    match = _WRAPPED.fullmatch(answer)
    return match.group(1).strip() if match else answer


def _line_after(text: str, start: int) -> str:
    """The rest of the line, or the next non-empty line if the rest is empty, without Markdown emphasis."""
    line = text[start : start + 10_000].lstrip().partition("\n")[0].strip()
    for mark in ("**", "`"):
        if line.endswith(mark) and (line.count(mark) == 1 or line.startswith(mark)):
            line = line.removeprefix(mark).removesuffix(mark).strip()
    return line


def _last_end(pattern: re.Pattern[str], text: str) -> int:
    return max((match.end() for match in pattern.finditer(text)), default=-1)


def _after_colon(text: str) -> str | None:
    end = _last_end(_COLON, text)
    return _line_after(text, end) if end >= 0 else None


def _after_is(text: str) -> str | None:
    end = _last_end(_IS, text)
    return _SENTENCE_END.split(_line_after(text, end), maxsplit=1)[0].strip() if end >= 0 else None


def _after_colon_or_is(text: str) -> str | None:
    """The answer after the later of `Answer:` and `answer is`."""
    return _after_colon(text) if _last_end(_COLON, text) >= _last_end(_IS, text) else _after_is(text)


def _after_hashes(text: str) -> str | None:
    end = _last_end(_HASHES, text)
    return _line_after(text, end) if end >= 0 else None


def _gsm8k_statement(text: str) -> str | None:
    end = _last_end(_A_COLON, text)
    if end > max(_last_end(_COLON, text), _last_end(_IS, text)):
        return _line_after(text, end)
    return _after_colon_or_is(text)


def _last_parenthesised_letter(text: str) -> str | None:
    letters = _LETTER_IN_PARENTHESES.findall(text)
    return letters[-1] if letters else None


def _tagged(text: str) -> str | None:
    _, tag, rest = text.rpartition(_TAG[0])
    return rest.partition(_TAG[1])[0].strip() if tag else None


def _last_line(text: str) -> str | None:
    return text.rstrip().rpartition("\n")[2].strip() or None


def _sole_line(text: str) -> str | None:
    stripped = text.strip()
    return stripped if "\n" not in stripped else None


def _closing_formula(text: str) -> str | None:
    """The last $...$, \\(...\\) or \\[...\\] of the last line."""
    line = (_last_line(text) or "").replace("\\$", "").replace("$$", "$")
    end, opening = max((line.rfind(closing), opening) for opening, closing in _FORMULA)
    start = line.rfind(opening, 0, max(end, 0))
    return line[start + len(opening) : end].strip() if start >= 0 else None


_STATED = (_after_colon, _after_is)
_TASK = (_tagged, *_STATED, _sole_line)
_CONVENTIONS: dict[str, tuple[Callable[[str], str | None], ...]] = {
    "gsm8k": (_after_hashes, _gsm8k_statement, _sole_line),
    "choice": (_after_colon_or_is, _last_parenthesised_letter, _sole_line),
    "math": (_after_colon_or_is, _closing_formula, _sole_line),
    "exact": (*_STATED, _last_line),
}
