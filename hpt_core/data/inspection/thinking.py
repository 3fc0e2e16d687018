"""Responses whose thinking stands in a column of its own, before the column of their conclusions."""

from __future__ import annotations

from collections.abc import Sequence

from hpt_core.data.inspection import contents
from hpt_core.data.inspection.fields import Field
from hpt_core.data.inspection.names import weight
from hpt_core.data.inspection.response import Response


def with_thinking(responses: Sequence[Response]) -> list[Response]:
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
