"""Which fields of the rows judge the responses, and how `keep` and `score` of a source read them."""

from __future__ import annotations

from collections.abc import Sequence

from hpt_core.data.inspection import contents
from hpt_core.data.inspection.fields import Field
from hpt_core.data.inspection.names import shared_words, weight, words
from hpt_core.data.inspection.problems import Entry
from hpt_core.data.inspection.responses import Response

_COMPLETE = frozenset({"complete", "valid", "keep", "finish", "finished"})
"""Words of marks that say whether a response is whole, rather than right."""

_PAIRS = (("Yes", "No"), ("True", "False"), ("Correct", "Incorrect"), ("Right", "Wrong"), ("Pass", "Fail"))
"""Marks that come in pairs: a sample of rows may have only one of the two."""


def marks_of(response: Response, fields: Sequence[Field], others: Sequence[Response]) -> dict[str, Entry]:
    """`score` and `keep` of the response, where fields of the rows judge it.

    others: the other responses of the rows. A mark whose name shares a word with one of them is its mark.
    """
    marks: dict[str, Entry] = {}
    candidates = sorted(
        (each for each in fields if _judges(each, response) and not _is_of_another(each, response, others)),
        key=lambda each: (
            -shared_words(each.name, response.column.name),
            -weight(each.name, "mark"),
            each.nulls,
        ),
    )
    for each in candidates:
        field = "keep" if not _COMPLETE.isdisjoint(words(each.name)) else "score"
        if field not in marks:
            marks[field] = _entry(each, response)
    return marks


def _judges(candidate: Field, response: Response) -> bool:
    if weight(candidate.name, "mark") <= 0 or not candidate.present:
        return False
    if response.count is not None:
        return _runs_beside(candidate, response.count)
    return contents.mostly(candidate, contents.is_mark)


def _runs_beside(candidate: Field, samples: Field) -> bool:
    """Whether a field has a list of marks with one for each sample."""
    pairs = [
        (marks, texts)
        for marks, texts in zip(candidate.values, samples.values, strict=True)
        if isinstance(marks, list) and isinstance(texts, list)
    ]
    return bool(pairs) and all(
        len(marks) == len(texts) and all(contents.is_mark(mark) for mark in marks) for marks, texts in pairs
    )


def _is_of_another(candidate: Field, response: Response, others: Sequence[Response]) -> bool:
    """Whether a mark belongs to other responses of the rows: its name shares more words with theirs, or none
    with any, and then it judges what a model wrote."""
    own = shared_words(candidate.name, response.column.name)
    rest = [other for other in others if other is not response]
    if any(shared_words(candidate.name, other.column.name) > own for other in rest):
        return True
    return own == 0 and not response.by_model and any(other.by_model for other in rest)


def _entry(mark: Field, response: Response) -> Entry:
    values = [item for value in mark.present for item in (value if isinstance(value, list) else [value])]
    path = f"{mark.path}.*" if response.count is not None and "*" not in mark.path else mark.path
    if all(isinstance(value, bool) for value in values):
        return path
    words_used = {value.strip().lower() for value in values if isinstance(value, str)}
    if words_used and words_used <= contents.RIGHT | contents.WRONG:
        used = dict.fromkeys(value.strip() for value in values if isinstance(value, str))
        pair = next((pair for pair in _PAIRS if words_used <= {word.lower() for word in pair}), tuple(used))
        return {"read": path, "map": {word: word.lower() in contents.RIGHT for word in pair}}
    return {"read": path, "right_from": 0.5}
