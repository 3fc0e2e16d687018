"""What `columns` of a source can say: paths, templates, and an entry with options.

    question                              a path: a column, or what dots lead to
    "{Body} {Question}"                   a template: any text with braces
    {read: steps, join: "\\n\\n"}           an entry with options
    [r1_solution_1, r1_solution_2]        several responses, each a path, a template or an entry

`hpt_core.data.reading.values` reads values by them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from hpt_core.config.base import Config, error_at

MARKS = ("keep", "score")
"""Fields in which a source judges its own responses."""
DROPPED = "_"
"""Name in a template of `unwrap` for text that is not kept."""

_TOKEN = re.compile(r"\{\{|\}\}|\{\}|\{[^{}]+\}|[{}]")
_LITERAL = {"{{": "{", "}}": "}", "{}": "{}"}
_BRACKETS = re.compile(r"\[(-?\d+|\*)\]")


@dataclass(frozen=True)
class Placeholder:
    """`{path}` in a template, or `{path?}` for a value that may be null or missing."""

    path: str
    optional: bool = False


@lru_cache(maxsize=1024)
def template_parts(template: str) -> tuple[str | Placeholder, ...]:
    """The texts and placeholders of a template, in their order. Raises ValueError for a single brace."""
    parts: list[str | Placeholder] = []
    end = 0
    for token in _TOKEN.finditer(template):
        parts.append(template[end : token.start()])
        end = token.end()
        if token.group() in ("{", "}"):
            raise ValueError(
                f"{template!r} has a single brace at {token.start()}; write {{column}} for a value, and {{{{ "
                f"or }}}} for a brace"
            )
        literal = _LITERAL.get(token.group())
        parts.append(literal if literal else _placeholder(token.group()[1:-1]))
    return tuple(part for part in (*parts, template[end:]) if part)


def is_template(text: str) -> bool:
    """Whether `text` is a template; any other text is a path."""
    return "{" in text or "}" in text


def optional_path(path: str) -> Placeholder:
    """A path, and whether it ends in the question mark of a value that may be missing."""
    return _placeholder(path)


def path_keys(path: str) -> list[str]:
    """The keys of a path: `a.0.b` and `a[0].b` are one path."""
    return _BRACKETS.sub(r".\1", path).removeprefix(".").split(".")


@lru_cache(maxsize=1024)
def _placeholder(text: str) -> Placeholder:
    path = text.strip()
    return Placeholder(path.removesuffix("?"), path.endswith("?"))


def _tag(value: Any) -> str:
    if isinstance(value, dict | Column):
        return "<entry>"
    return "<list>" if isinstance(value, list) else "<text>"


class Column(Config):
    """Where the value of a field stands in a row of the source, and how it is read there."""

    read: Annotated[str, Field(min_length=1)]
    """A path or a template, as in an entry without options."""
    join: str | None = None
    """Text that joins a list of texts to one text, such as the steps of a solution. Null: a list stays a
    list, which is several responses."""
    unwrap: str | None = None
    """Template of an instruction around the value: `"Solve the problem. {problem} Think."` keeps what stands
    for `{problem}`. `{_}` stands for any text that is not kept. A space fits any white space, a line
    break any line breaks, and a blank line any blank lines."""
    choices: str | None = None
    """For problem: the path of the options of a question, which then stand below it as (A), (B) and so on.
    They are a list of texts, an object ({A: ..., B: ...}, {text: [...]}), or one text: "a ) 38 , b ) 27"."""
    map: dict[str, str | bool | int | float] | None = None
    """What each value stands for, such as {"Yes": true, "No": false} for a mark or {0: A, 1: B} for an
    answer. Case makes no difference, and a row with another value is quarantined."""
    right_from: float | None = None
    """For keep and score: the number from which a response counts as right. Texts that are numbers count as
    such: "0.97", "97%", "7/8"."""

    @field_validator("read")
    @classmethod
    def _template_is_complete(cls, text: str) -> str:
        return _checked(text)

    @field_validator("map", mode="before")
    @classmethod
    def _keys_are_texts(cls, meanings: Any) -> Any:
        return (
            {str(key): value for key, value in meanings.items()} if isinstance(meanings, dict) else meanings
        )

    @field_validator("unwrap")
    @classmethod
    def _unwrap_keeps_one_part(cls, template: str | None) -> str | None:
        parts = [] if template is None else template_parts(template)
        kept = [part.path for part in parts if isinstance(part, Placeholder) and part.path != DROPPED]
        if template is not None and len(kept) != 1:
            raise ValueError(f"a template of unwrap keeps one part, such as {{problem}}; this one has {kept}")
        return template

    @model_validator(mode="after")
    def _one_rule_for_marks(self) -> Column:
        if self.map is not None and self.right_from is not None:
            raise error_at(("right_from",), "`map` decides already; drop one of the two")
        if self.choices is not None and self.unwrap is not None:
            raise error_at(
                ("choices",), "the options stand below the text, so `unwrap` would not fit; drop one"
            )
        return self


def _checked(text: str) -> str:
    if is_template(text):
        template_parts(text)
    return text


_Text = Annotated[str, AfterValidator(_checked), Tag("<text>")]
ColumnEntry = Annotated[_Text | Annotated[Column, Tag("<entry>")], Discriminator(_tag)]
"""A path, a template or an entry with options."""


class Response(Column):
    """An entry of `columns` with options. author, kind, keep and score are for entries of `response` only."""

    author: str | None = None
    """For one of several responses: who wrote it, in place of the source's `author`."""
    kind: Literal["human", "teacher"] | None = None
    """For one of several responses: its kind, in place of the source's `kind`."""
    keep: ColumnEntry | None = None
    """For one of several responses: its own mark, in place of the field `keep`."""
    score: ColumnEntry | None = None
    """For one of several responses: its own mark, in place of the field `score`."""


_ResponseEntry = Annotated[_Text | Annotated[Response, Tag("<entry>")], Discriminator(_tag)]
ResponseEntry = Annotated[
    _Text
    | Annotated[Response, Tag("<entry>")]
    | Annotated[list[_ResponseEntry], Tag("<list>"), Field(min_length=1)],
    Discriminator(_tag),
]
"""The same for an expert source, or a list of several responses."""
Columns = Mapping[str, str | Column | Sequence[str | Column]]
"""Our field -> its entry, or one for each of several responses."""


def entries(column: str | Column | Sequence[str | Column]) -> list[Column]:
    """The entries of a field, each with its options: one, or one for each of several responses."""
    several = [column] if isinstance(column, str | Column) else column
    return [Column(read=each) if isinstance(each, str) else each for each in several]


def columns_read(columns: Columns) -> Iterator[str]:
    """Every path that the entries read, in their order."""
    for column in columns.values():
        for entry in entries(column):
            if is_template(entry.read):
                parts = template_parts(entry.read)
                yield from (part.path for part in parts if isinstance(part, Placeholder))
            else:
                yield optional_path(entry.read).path
            if entry.choices is not None:
                yield entry.choices


def check_options(columns: Columns) -> None:
    """Raises the error of the first option that its field does not have."""
    for field, column in columns.items():
        if field != "response" and not isinstance(column, str | Column):
            raise error_at((field,), "only `response` may be a list, of several responses; name one column")
        for entry in entries(column):
            if field not in MARKS and entry.right_from is not None:
                raise error_at((field, "right_from"), f"{field} is no mark; {' and '.join(MARKS)} have it")
            if field != "problem" and entry.choices is not None:
                raise error_at((field, "choices"), "only a problem has options; remove it")
            given = entry.model_fields_set & {"author", "kind", *MARKS}
            if field != "response" and given:
                raise error_at((field, min(given)), "only entries of `response` have it; remove it")
