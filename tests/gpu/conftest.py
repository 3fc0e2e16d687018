"""Fixtures of the tests on a GPU; without one they are skipped."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.warm_start import build_tokenizer
from hpt_core.types import Verdict

PROBLEMS = ["1", "1 + 2 =", "Spell: kayak", "12 - 3 + 45 - 6 =", "?!"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if "tests/gpu" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason="no GPU"))


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer(["State the final answer: 3 + 4 =", "\\boxed{7}"])


@pytest.fixture(scope="session")
def _model(tokenizer: PreTrainedTokenizerBase) -> Qwen2ForCausalLM:
    torch.manual_seed(5)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.12,
        tie_word_embeddings=False,
    )
    return Qwen2ForCausalLM(config).eval()


@pytest.fixture
def policy(_model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase) -> LoadedPolicy:
    """A small Qwen2 on the GPU; its weights are large enough that its distribution is far from uniform."""
    return LoadedPolicy(copy.deepcopy(_model).cuda(), tokenizer)


@pytest.fixture
def prompts(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Prompts of different lengths."""
    chat = Chat(tokenizer)
    return [chat.prompt(problem) for problem in PROBLEMS]


class ByLength:
    """Judges a response by the parity of its length, so that rewards differ within a group."""

    def verify(self, items: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        return [Verdict(len(response) % 2 == 0, None) for response, _, _ in items]


class Sink:
    """Keeps the metrics of every step."""

    def __init__(self) -> None:
        self.steps: dict[int, dict[str, Any]] = {}

    def log(self, step: int, metrics: Any) -> None:
        self.steps[step] = dict(metrics)


@pytest.fixture
def verifier() -> ByLength:
    return ByLength()


@pytest.fixture
def sink() -> Sink:
    return Sink()
