"""Which fields of the rows hold worked responses: texts, chats, lists of samples, thinking and conclusion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hpt_core.data.inspection import contents
from hpt_core.data.inspection.chats import chat_in
from hpt_core.data.inspection.fields import Field
from hpt_core.data.inspection.names import names_a_model, stem, suggests_a_model, weight, words
from hpt_core.data.inspection.problems import Entry, Found

_LEAST = 1.5


@dataclass(frozen=True)
class Response:
    """The responses of one origin in each row."""

    column: Field
    """The texts; of several samples, the first one of each row."""
    entry: Entry
    turns: dict[str, Any] = field(default_factory=dict)
    count: Field | None = None
    """The field whose values are lists of samples; marks of the same lengths belong to it."""
    in_chat: bool = False
    author: str | None = None
    """The path of the column that names who wrote each response."""

    @property
    def by_model(self) -> str | None:
        """What shows that a model wrote them; None where nothing does."""
        texts = self.column.texts
        if contents.share(texts, contents.has_thinking) >= 0.3:
            return "thinking between tags"
        if contents.share(texts, contents.muses) >= 0.5:
            return "texts that think aloud"
        if self.author is not None:
            return f"the column {self.author}"
        if names_a_model(self.column.name):
            return f"the name {self.column.name}"
        return "an assistant's turn" if self.in_chat else None

    @property
    def likely_model(self) -> bool:
        return suggests_a_model(self.column.name)


def find_responses(fields: Sequence[Field], problem: Found) -> list[Response]:
    """The responses of each origin, the most telling first as they stand in the rows; none is there twice."""
    numbered = _numbered(fields)
    singles = [response for each in fields if each not in numbered for response in _as_response(each)]
    paired = _with_thinking(singles, fields)
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


def _as_response(candidate: Field) -> list[Response]:
    if contents.is_text(candidate):
        return [Response(candidate, candidate.path)]
    chat = chat_in(candidate)
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


def _with_thinking(responses: Sequence[Response], fields: Sequence[Field]) -> list[Response]:
    """The responses, each with the thinking that stands in a column of its own before it."""
    joined: list[Response] = []
    used: set[str] = set()
    for place, response in enumerate(responses):
        if response.column.path in used:
            continue
        if not _is_thinking(response):
            joined.append(response)
            continue
        conclusion = _conclusion(response, responses[place + 1 :])
        if conclusion is None:
            joined.append(response)
            continue
        used.add(conclusion.column.path)
        thought = f"{response.column.path}.0" if response.count else response.column.path
        texts = tuple(
            f"<think>\n{a}\n</think>\n\n{b}" if a and b else None
            for a, b in zip(response.column.values, conclusion.column.values, strict=True)
        )
        template = f"<think>\n{{{thought}}}\n</think>\n\n{{{conclusion.column.path}}}"
        joined.append(Response(Field(conclusion.column.path, texts), template))
    return joined


def _is_thinking(response: Response) -> bool:
    """Whether the texts are thinking without tags, by their beginnings or by the column's name."""
    if response.in_chat or contents.share(response.column.texts, contents.has_thinking) >= 0.3:
        return False
    if response.count and not contents.mostly(response.count, lambda value: len(value) == 1):
        return False
    aloud = contents.share(response.column.texts, contents.muses) >= 0.5
    return aloud or weight(response.column.name, "thinking") > 0


def _conclusion(thinking: Response, later: Sequence[Response]) -> Response | None:
    """The next text that is no thinking itself: the answer that the thinking leads to."""
    for response in later:
        plain = not response.in_chat and not response.count and not _is_thinking(response)
        if plain and weight(response.column.name, "response") > 0 and contents.length(response.column) > 20:
            return response
        if plain and contents.share(response.column.texts, contents.states_answer) >= 0.5:
            return response
    return None
