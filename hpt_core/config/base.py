"""What every section of the parameters is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """Base of every section: an unknown or ill-typed key raises with its name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
