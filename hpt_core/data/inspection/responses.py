"""Which fields of the rows hold worked responses: texts, chats, lists of samples, thinking and conclusion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from hpt_core.data.inspection import contents
from hpt_core.data.inspection.chats import Chat, chat_in
from hpt_core.data.inspection.fields import Field
from hpt_core.data.inspection.found import Found
from hpt_core.data.inspection.names import stem, weight, words
from hpt_core.data.inspection.response import Response
from hpt_core.data.inspection.thinking import with_thinking

_LEAST = 1.5


def find_responses(fields: Sequence[Field], problem: Found) -> list[Response]:
    """The responses of each origin, the most telling first as they stand in the rows; none is there twice."""
    numbered = _numbered(fields)
    singles = [
        response for each in fields if each not in numbered for response in _as_response(each, problem)
    ]
    paired = with_thinking(singles)
    kept: list[Response] = []
    for response in [*paired, *_groups(numbered)]:
        if _score(response, problem) >= _LEAST and not any(_same(response, other) for other in kept):
            kept.append(response)
    return [
        replace(response, author=_author(response, fields))
        if len(kept) == 1 or response.by_model or response.likely_model
        else response
        for response in kept
    ]


def _author(response: Response, fields: Sequence[Field]) -> str | None:
    """The column that names who wrote each response, or each sample."""
    for each in fields:
        if weight(each.name, "author") <= 0 or not each.present:
            continue
        listed = isinstance(each.present[0], list)
        names = [name for value in each.present for name in (value if listed else [value])]
        if all(isinstance(name, str) for name in names) and not (listed and response.count is None):
            return each.path
    return None


def _as_response(candidate: Field, problem: Found) -> list[Response]:
    if contents.is_text(candidate):
        return [Response(candidate, candidate.path)]
    chat = chat_in(candidate)
    if chat and candidate.path != problem.column.path:
        chat = _exchange_about(problem, chat)
    if chat and chat.replies.texts:
        return [Response(chat.replies, candidate.path, chat.turns, in_chat=True)]
    if contents.is_list_of_texts(candidate):
        if _are_steps(candidate):
            texts = tuple("\n\n".join(value) if value else None for value in candidate.values)
            return [Response(Field(candidate.path, texts), {"read": candidate.path, "join": "\n\n"})]
        first = Field(candidate.path, tuple(value[0] if value else None for value in candidate.values))
        if contents.length(first) > 60:
            samples = candidate.path if "*" in candidate.path else f"{candidate.path}.*"
            return [Response(first, samples, count=candidate)]
    return []


def _exchange_about(problem: Found, chat: Chat) -> Chat:
    """The chat, read at its first exchange where that is about the problem, and later ones are not."""
    opening = replace(chat, turns=chat.turns | {"use": "first"})
    first = _repeats(opening.problems, problem.column) and opening.replies != chat.replies
    return opening if first else chat


def _are_steps(candidate: Field) -> bool:
    """Whether the texts of a list are the steps of one response: the last alone states an answer."""
    if not {"step", "steps"}.isdisjoint(words(candidate.name)):
        return True
    several = [value for value in candidate.present if len(value) > 1]
    if not several:
        return False
    last = contents.share(several, lambda value: contents.states_answer(value[-1]))
    return (
        last >= 0.5
        and contents.share(several, lambda value: any(map(contents.states_answer, value[:-1]))) < 0.2
    )


def _numbered(fields: Sequence[Field]) -> list[Field]:
    """Text columns that differ in the number at their end, such as r1_solution_1 to r1_solution_3."""
    texts = [each for each in fields if contents.is_text(each) and contents.length(each) > 60]
    groups: dict[str, list[Field]] = {}
    for each in texts:
        groups.setdefault(stem(each.path), []).append(each)
    alike = [group for group in groups.values() if len(group) > 1 and _are_alike(group)]
    return [each for group in alike for each in group if stem(each.path) != each.path]


def _are_alike(group: Sequence[Field]) -> bool:
    """Whether numbered columns hold the same kind of text: `text1` may be a problem, `text2` its solution."""
    tests = (contents.states_answer, contents.has_thinking, contents.muses, contents.asks)
    shares = [[contents.share(each.texts, test) for test in tests] for each in group]
    return all(max(column) - min(column) <= 0.3 for column in zip(*shares, strict=True))


def _groups(numbered: Sequence[Field]) -> list[Response]:
    groups: dict[str, list[Field]] = {}
    for each in numbered:
        groups.setdefault(stem(each.path), []).append(each)
    return [Response(group[0], [_may_lack(each) for each in group]) for group in groups.values()]


def _may_lack(sample: Field) -> str:
    return sample.path if len(sample.present) == len(sample.values) else f"{sample.path}?"


def _score(response: Response, problem: Found) -> float:
    texts, shared = response.column, contents.share
    if (
        not texts.texts
        or contents.is_constant(texts)
        or contents.is_category(texts)
        or shared(texts.texts, lambda text: contents.words_of(text) >= 4) < 0.6
        or _repeats(texts, problem.column)
    ):
        return -10.0
    states = shared(texts.texts, contents.states_answer)
    return (
        weight(texts.name, "response")
        + 1.0 * (contents.length(texts) > 60)
        + 0.5 * (shared(texts.texts, contents.asks) < 0.5)
        + 1.5 * states
        + 1.0
        * (shared(texts.texts, contents.has_thinking) >= 0.3 or shared(texts.texts, contents.muses) >= 0.5)
        - 1.5 * (shared(texts.texts, contents.asks) >= 0.8 and states < 0.2)
    )


def _repeats(response: Field, problem: Field) -> bool:
    """Whether the texts hold the problem itself: a prompt, or a prompt with its response as one text."""
    pairs = [
        pair
        for pair in zip(response.values, problem.values, strict=True)
        if all(isinstance(text, str) and text.strip() for text in pair)
    ]
    return contents.share(pairs, lambda pair: pair[1].strip() in pair[0] or pair[0].strip() in pair[1]) >= 0.5


def _same(response: Response, other: Response) -> bool:
    pairs = zip(response.column.values, other.column.values, strict=True)
    both = [pair for pair in pairs if all(isinstance(text, str) for text in pair)]
    return contents.share(both, lambda pair: _untagged(pair[0]) == _untagged(pair[1])) >= 0.5


def _untagged(text: str) -> str:
    return "".join(re.sub(r"</?(?:think|thinking|answer)>", "", text).split())
