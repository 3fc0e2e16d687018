"""What a person would read from a data set's rows: problem, answer with its kind, responses with marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpt_core.config.columns import Column, columns_read
from hpt_core.data.inspection import contents
from hpt_core.data.inspection.answers import find_answer, kind_of
from hpt_core.data.inspection.choices import benchmark_of, find_choice, find_options, with_options
from hpt_core.data.inspection.fields import Field
from hpt_core.data.inspection.found import Entry, Found
from hpt_core.data.inspection.marks import marks_of
from hpt_core.data.inspection.names import words
from hpt_core.data.inspection.problems import find_problem
from hpt_core.data.inspection.response import Response
from hpt_core.data.inspection.responses import find_responses
from hpt_core.data.reading.records import Record


@dataclass(frozen=True)
class Demonstrations:
    """The responses of one origin, as a source of experts reads them."""

    response: Response
    marks: dict[str, Entry]


@dataclass(frozen=True)
class Recognised:
    """What the fields of a data set are. What is None or empty was not found."""

    problem: Found | None = None
    answer: Found | None = None
    kind: str = ""
    benchmark: str | None = None
    """The benchmark as whose published rows these are read, without problem and answer."""
    demonstrations: tuple[Demonstrations, ...] = ()
    license: str | None = None
    """The license that all rows name."""
    missing: str = ""
    """What keeps the rows from being read, in words."""


def recognise(fields: Sequence[Field], rows: Sequence[Record] = ()) -> Recognised:
    """What `fields` of `rows` are, by their contents first and their names second."""
    problem = find_problem(fields)
    if problem is None:
        return Recognised(missing="no column of problems: texts that ask for something, one for each row")
    responses = find_responses(fields, problem)
    texts = [response.column for response in responses]
    used = _paths_of(problem)
    rest = [each for each in fields if each.path not in used]
    sampled = [response.count for response in responses]
    options = find_options([each for each in rest if each not in sampled])
    choice = find_choice(rest, options) if options else None
    benchmark = benchmark_of(rows) if rows and not choice else None
    answer = choice or find_answer(rest, responses, _behind(fields, problem))
    kind = "choice" if choice else kind_of(answer, problem, texts) if answer else ""
    if options and choice:
        problem = with_options(problem, options)
    shown = [response for response in responses if not _is_the_answer(response, answer)]
    reference = answer.column if answer else None
    judging = [each for each in fields if each is not reference]
    demonstrations = [
        Demonstrations(response, marks_of(response, judging, shown, reference)) for response in shown
    ]
    missing = "" if answer or benchmark else _no_answer(responses)
    return Recognised(problem, answer, kind, benchmark, tuple(demonstrations), _license(fields), missing)


def _license(fields: Sequence[Field]) -> str | None:
    """The license that a column gives to all rows alike."""
    named = next((each for each in fields if {"license", "licence"} & set(words(each.name))), None)
    values = set(named.present) if named and contents.is_text(named) else set()
    return str(values.pop()) if len(values) == 1 else None


def _paths_of(problem: Found) -> set[str]:
    entry = Column(**problem.entry) if isinstance(problem.entry, dict) else str(problem.entry)
    return set(columns_read({"problem": entry}))


def _behind(fields: Sequence[Field], problem: Found) -> list[str]:
    """The paths of the fields after the problem."""
    paths = [each.path for each in fields]
    return paths[paths.index(problem.column.path) + 1 :]


def _no_answer(responses: Sequence[Response]) -> str:
    stating = next((each for each in responses if contents.mostly(each.column, contents.states_answer)), None)
    if stating is None:
        return "no column of reference answers"
    where = f"the responses in {stating.column.path} state some, but a model may have written them"
    return f"no column of reference answers; {where}"


def _is_the_answer(response: Response, answer: Found | None) -> bool:
    """Whether a column of short answers was taken for responses as well; worked solutions may be both."""
    return answer is not None and answer.column.path == response.column.path and not _is_worked(response)


def _is_worked(response: Response) -> bool:
    texts = response.column.texts
    return bool(texts) and sum(map(len, texts)) / len(texts) > 60
