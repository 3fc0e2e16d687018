"""What every section of the parameters is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """Base of every section: an unknown or ill-typed key raises with its name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def at(location: tuple[str | int, ...], message: str) -> PydanticCustomError:
    """An error at a place of its own: pydantic puts a validator's at the model that it is of."""
    return PydanticCustomError("told", "{text}", {"text": message, "location": location})
