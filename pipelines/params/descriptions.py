"""What the schema says about the keys of params.yaml."""

from __future__ import annotations

from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from hpt_core.config import Config


def description(field: FieldInfo) -> str:
    """The field's docstring on one line."""
    assert field.description, "tests/unit/params/test_reference.py finds fields without a docstring"
    return " ".join(field.description.split())


def summary(field: FieldInfo) -> str:
    """The first sentence of the description, short enough for the comment of a key."""
    return description(field).partition(". ")[0].removesuffix(".")


def subsection(annotation: Any) -> type[Config] | None:
    """The model of a field that is a subsection, optional or not; None for values, lists and maps."""
    alternatives = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    models = [each for each in alternatives if isinstance(each, type) and issubclass(each, Config)]
    return models[0] if models else None
