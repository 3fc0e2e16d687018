"""Which fields of the rows judge the responses, and how `keep` and `score` of a source read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hpt_core.data.inspection import contents
from hpt_core.data.inspection.fields import Field
from hpt_core.data.inspection.found import Entry
from hpt_core.data.inspection.names import shared_words, weight, words
from hpt_core.data.inspection.response import Response

_WHOLE = frozenset({"complete", "valid", "keep", "finish", "finished"})
"""Words of marks that say whether a response is whole, rather than right."""
_VOCABULARIES = (
    *(("Yes", "No"), ("True", "False"), ("Correct", "Incorrect"), ("Right", "Wrong"), ("Pass", "Fail")),
    ("stop", "length"),
    ("Yes", "Incomplete"),
    ("solution", "found_error", "give_up", "bad_problem"),
)
"""Marks that belong together: the sampled rows may lack some of them."""


def marks_of(
    response: Response, fields: Sequence[Field], others: Sequence[Response], answer: Field | None
) -> dict[str, Entry]:
    """`score` and `keep` of the response, where fields of the rows judge it.

    others: the responses of the rows. A mark whose name or place is that of one of them is its mark.
    answer: the references. A mark without a telling name is one if it says which responses end in them.
    """
    marks: dict[str, Entry] = {}
    own = [each for each in fields if _judges(each, response, answer)]
    own = [each for each in own if not _is_of_another(each, response, others)]
    own = [each for each in own if _nearness(each, response) or not _has_its_own_text(each, fields)]
    own.sort(key=lambda each: (-_nearness(each, response), -weight(each.name, "mark"), each.nulls))
    for each in own:
        field = "score" if _WHOLE.isdisjoint(words(each.name)) else "keep"
        marks.setdefault(field, _entry(each, response))
    return marks


def _judges(candidate: Field, response: Response, answer: Field | None) -> bool:
    if not candidate.present or weight(candidate.name, "mark") < 0:
        return False
    if response.count is None:
        fits = contents.mostly(candidate, contents.is_mark)
    else:
        fits = _runs_beside(candidate, response.count)
    return fits and (
        weight(candidate.name, "mark") > 0
        or ("label" in words(candidate.name) and all(isinstance(value, bool) for value in _flat(candidate)))
        or _tells(candidate, response, answer)
    )


def _runs_beside(candidate: Field, samples: Field) -> bool:
    """Whether a field has a list of marks with one for each sample."""
    pairs = [pair for pair in zip(candidate.values, samples.values, strict=True) if None not in pair]
    return bool(pairs) and all(
        isinstance(marks, list) and len(marks) == len(texts) and all(map(contents.is_mark, marks))
        for marks, texts in pairs
    )


def _tells(candidate: Field, response: Response, answer: Field | None) -> bool:
    """Whether a field of true and false says which responses end in the reference answer."""
    if answer is None:
        return False
    triples = [
        (mark, contents.concludes(text, reference))
        for marks, texts, reference in zip(
            candidate.values, (response.count or response.column).values, answer.values, strict=True
        )
        if None not in (marks, texts, reference)
        for mark, text in zip(_items(marks), _items(texts), strict=True)
    ]
    both = {mark for mark, _ in triples} == {True, False}
    return both and contents.share(triples, lambda pair: pair[0] is pair[1]) >= 0.9


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _nearness(mark: Field, response: Response) -> int:
    """How much the name and the place of a mark have in common with those of a response."""
    beside = "." in mark.path and mark.path.rpartition(".")[0] == response.column.path.rpartition(".")[0]
    return shared_words(mark.name, response.column.name) + 2 * beside


def _is_of_another(mark: Field, response: Response, others: Sequence[Response]) -> bool:
    """Whether a mark belongs to other responses: it is nearer to them, or near to none, and then it judges
    what a model wrote."""
    own = _nearness(mark, response)
    rest = [other for other in others if other is not response]
    if any(_nearness(mark, other) > own for other in rest):
        return True
    return own == 0 and not response.by_model and any(other.by_model for other in rest)


def _has_its_own_text(mark: Field, fields: Sequence[Field]) -> bool:
    """Whether a mark in an object stands beside a text there, which it judges."""
    parent, dot, _ = mark.path.rpartition(".")
    beside = [each for each in fields if dot and each.path.rpartition(".")[0] == parent]
    return any(contents.is_text(each) and contents.length(each) > 60 for each in beside)


def _entry(mark: Field, response: Response) -> Entry:
    values = list(_flat(mark))
    path = f"{mark.path}.*" if response.count is not None and "*" not in mark.path else mark.path
    if all(isinstance(value, bool) for value in values):
        return path
    used = dict.fromkeys(value.strip() for value in values if isinstance(value, str))
    if used:
        lower = {word.lower() for word in used}
        known = (all_of for all_of in _VOCABULARIES if lower <= {word.lower() for word in all_of})
        return {
            "read": path,
            "map": {word: word.lower() in contents.RIGHT for word in next(known, tuple(used))},
        }
    return {"read": path, "right_from": 0.5}


def _flat(mark: Field) -> Iterator[Any]:
    for value in mark.present:
        yield from _items(value)
