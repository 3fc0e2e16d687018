"""Fixtures: a maker of small tokenizers."""

from __future__ import annotations

import pytest
from small_tokenizers import MakeTokenizer, build


@pytest.fixture
def make_tokenizer() -> MakeTokenizer:
    """Make a tokenizer with a chat template, special tokens, and added tokens that are not special."""
    return build
