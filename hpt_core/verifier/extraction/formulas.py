r"""The formulas that end a response of kind math: $...$, \(...\) or \[...\] in its last line."""

from __future__ import annotations

import re

from hpt_core.verifier.words import AND_OR, any_of

_FORMULA = re.compile(
    r"\$\$(?P<display>[^$]{1,2000})\$\$|(?<!\\)\$(?P<dollars>(?:[^$\\]|\\.){1,2000})\$"
    r"|\\\((?P<round>(?:[^\\]|\\[^)]){1,2000})\\\)|\\\[(?P<square>(?:[^\\]|\\[^\]]){1,2000})\\\]",
    re.DOTALL,
)
_JOINED = re.compile(
    rf"""\s* (?: [,;、，] | (?:[^\W\d]+\s+){{0,3}} ,?\s* (?:{any_of(AND_OR)})(?![A-Za-z]) )+
         \s* (?:{any_of(AND_OR)})? \s*""",
    re.IGNORECASE | re.VERBOSE,
)
_TRAILING = re.compile(
    rf"""\s*,?\s* (?: (?:{any_of(AND_OR)})(?![A-Za-z])(?=\s*[\w$\\-]) | (?:to|through|percent)\b
                    | (?:hundred|thousand|million|billion)\b | [%!^_+*/-] )""",
    re.VERBOSE,
)
_QUALIFIED = re.compile(
    r"(?:\b(?:not|never|cannot be|except|than|at least|at most|over|under|exceeds?|unless)|n't)"
    r"(?:\s+\w+)?\s*$",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\s*(?:is|are|was|does|do|can|has)?\s*(?:not|never|n't|impossible|cannot|fails?|wrong|incorrect)\b"
    r"|\s*(?:is|does)n't"
)


def closing_formula(text: str) -> str | None:
    """The formula that ends the last line, with those before it that only commas, "and" or "or" set apart."""
    stripped = text.rstrip()
    display = stripped.endswith(("$$", "\\]"))
    line = stripped[-4000:] if display else stripped[-4000:].rpartition("\n")[2]
    formulas = list(_FORMULA.finditer(line))
    if not formulas:
        return None
    first = last = len(formulas) - 1
    while first > 0 and _JOINED.fullmatch(line, formulas[first - 1].end(), formulas[first].start()):
        first -= 1
    after = line[formulas[last].end() :].rstrip(" .*")
    if _DENIED.match(after) or _QUALIFIED.search(line[: formulas[first].start()]):
        return None
    further = after if _TRAILING.match(after) else ""
    if first == last and not further:
        return (formulas[last][formulas[last].lastgroup or 0] or "").strip()
    return line[formulas[first].start() : formulas[last].end()] + further
