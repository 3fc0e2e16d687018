"""Extracted answers as values (a number, a choice letter or a normalised text) that compare by equality."""

from __future__ import annotations

from hpt_core.verifier.answers.choices import choices, letter
from hpt_core.verifier.answers.numbers import number
from hpt_core.verifier.answers.texts import normal

__all__ = ["choices", "letter", "normal", "number"]
