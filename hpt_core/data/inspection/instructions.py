"""The instruction that prompts have around their problems, and how `unwrap` of a source takes it off."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hpt_core.data.curation.wrapping import common_beginning, literal
from hpt_core.data.inspection import contents
from hpt_core.data.inspection.fields import Field
from hpt_core.data.inspection.found import Found

_LEAST = 15
"""An instruction has at least so many characters, before or after the problem."""
_ENOUGH = 3
"""If so many different prompts have the same text around them, it is no part of their problems."""
_INSTRUCTS = re.compile(
    r"\\boxed|final answer|step by step|following (?:math|problem|question)|your (?:answer|response|work)|"
    r"<answer>|<think>|####",
    re.IGNORECASE,
)
"""What an instruction says, by which it is known in fewer prompts."""
_NOTE = "an instruction that all sampled rows have around the problem is taken off"


def unwrapped(found: Found) -> Found:
    """The problem without an instruction that all rows have around it, or `found` itself."""
    texts = list(dict.fromkeys(found.column.texts))
    if not texts:
        return found
    before, after = _alone(texts[0]) if len(texts) == 1 else _common(texts)
    if len(texts) < _ENOUGH:
        before, after = (part if _INSTRUCTS.search(part) else "" for part in (before, after))
    if max(len(before.strip()), len(after.strip())) < _LEAST:
        return found
    inner = tuple(
        value[len(before) : len(value) - len(after)] if isinstance(value, str) else None
        for value in found.column.values
    )
    column = Field(found.column.path, inner)
    # What is left must be a problem, and the instruction to choose a letter belongs to one with options.
    asking = len(column.texts) == len(found.column.texts) and contents.mostly(column, contents.asks)
    if not asking or contents.mostly(column, contents.lists_options):
        return found
    template = f"{literal(before)}{{problem}}{literal(after)}"
    return Found(column, {"read": found.entry, "unwrap": template}, found.turns, _NOTE)


def _common(texts: Sequence[str]) -> tuple[str, str]:
    """What all texts have before and after their problems."""
    before = _to_boundary(common_beginning(texts))
    rests = [text[len(before) :] for text in texts]
    return before, _from_boundary(common_beginning([rest[::-1] for rest in rests])[::-1])


def _alone(text: str) -> tuple[str, str]:
    """The paragraphs that instruct before and after the problem of the only prompt, or its last sentence."""
    ends = [match.end() for match in re.finditer(r"\n\s*\n", text)]
    paragraphs = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    first = next((i for i, part in enumerate(paragraphs) if not _INSTRUCTS.search(part)), 0)
    last = next((i for i, part in enumerate(reversed(paragraphs)) if not _INSTRUCTS.search(part)), 0)
    before, after = "".join(paragraphs[:first]), "".join(paragraphs[len(paragraphs) - last :])
    if after:
        inner = text[len(before) : len(text) - len(after)]
        return before, inner[len(inner.rstrip()) :] + after
    sentence = re.search(r"(?<=[.?!:$}])\s+[A-Z][^?]*$", text)
    return before, sentence[0] if sentence and not before else ""


def _to_boundary(prefix: str) -> str:
    """The part of a common prefix that ends with a line or a sentence: problems may begin alike as well."""
    ends = [match.end() for match in re.finditer(r"\n\s*|[.:!?][\"')]?\s+", prefix)]
    return prefix[: ends[-1]] if ends else ""


def _from_boundary(suffix: str) -> str:
    """The part of a common suffix that begins after the problem: at a line, or behind a sentence."""
    start = re.search(r"\n|(?<=[.?!:$}])\s|^\s", suffix)
    return suffix[start.start() :] if start else ""
