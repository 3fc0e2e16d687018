"""The base class of every section of params.yaml, and the number types that sections share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]

CUSTOM_ERROR = "custom_error"
"""Type of the errors whose message is complete: it already says what is wrong and what to do."""


class Config(BaseModel):
    """Base of every section: an unknown or ill-typed key raises an error that names it.

    The docstring below a field is the field's description. Its first sentence becomes the comment of the key
    in params.yaml, all of it goes into docs/configuration.md (`pipelines.params.reference`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


def error_at(location: tuple[str | int, ...], message: str) -> PydanticCustomError:
    """An error at `location`, relative to the model whose validator raises it."""
    return PydanticCustomError(CUSTOM_ERROR, "{text}", {"text": message, "location": location})
