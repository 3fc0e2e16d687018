"""Fixtures of the unit tests: tiny policies, prompts, and groups of rollouts without sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from policies import sharp_policy
from transformers import GPT2Config, GPT2LMHeadModel

from hpt_core.config import OptimizerConfig, PromptSource, WarmStart
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy
from hpt_core.rollout.group import Group, Task
from hpt_core.types import Completion, Prompt, Rollout, Trajectory

TEXTS = ["State the final answer: 3 + 4 =", "3 + 4 = 7\n\\boxed{7}", "Spell this word backward: stop"]
SOURCE = PromptSource(name="sums", reasoning_gym="chain_sum", size=4, seed=1, license="mit")
SIZES = WarmStart(
    hidden_size=32,
    layers=2,
    heads=2,
    max_positions=128,
    steps=3,
    batch_size=2,
    optimizer=OptimizerConfig(lr=0.01),
    sources=[SOURCE],
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Use one thread: rounding of sums, and so the bytes of weights, depends on the number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sizes() -> WarmStart:
    return SIZES


@pytest.fixture
def policy() -> LoadedPolicy:
    """A tiny Llama, its random weights scaled up: an almost uniform distribution would hide errors."""
    return sharp_policy(SIZES, TEXTS)


@pytest.fixture
def absolute(policy: LoadedPolicy) -> LoadedPolicy:
    """A tiny GPT-2: its absolute positions, unlike rotary ones, reveal a shift by padding."""
    torch.manual_seed(7)
    shape = GPT2Config(
        vocab_size=len(policy.tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=128,
        initializer_range=0.3,
    )
    return LoadedPolicy(GPT2LMHeadModel(shape).eval(), policy.tokenizer)


@pytest.fixture
def prompt_tokens(policy: LoadedPolicy) -> list[list[int]]:
    """Prompts of different lengths."""
    chat = Chat(policy.tokenizer)
    return [chat.prompt(text) for text in ("1", "1 + 2 =", "Spell: kayak", "12 - 3 + 45 - 6 =", "?!")]


@pytest.fixture
def make_group(policy: LoadedPolicy) -> Callable[..., Group]:
    """Make a group: prompt `name`, a rollout for each reward, and an expert if `kind` is set."""
    chat = Chat(policy.tokenizer)

    def make(name: str, rewards: Sequence[float], kind: str | None = None) -> Group:
        prompt = Prompt(name, f"{name} =", "7", "exact", "made", "mit")
        expert, demonstration = None, []
        if kind is not None:
            expert = Trajectory(f"t-{name}", name, "7 as ever", kind, "s", "a", "mit", "{}", True, 5, "0")
            demonstration = chat.response(expert.response)
        task = Task(prompt, chat.prompt(prompt.problem), expert, demonstration)
        rollouts = []
        for i, reward in enumerate(rewards):
            ids = tuple(chat.response(f"{name}{'abc' * i}{reward}"))
            logprobs = tuple(-0.5 - 0.1 * (j % 7) for j in range(len(ids)))
            completion = Completion(name, ids, logprobs, "stop")
            rollouts.append(Rollout(name, i, 1, completion, float(reward), "made"))
        return Group(task, rollouts)

    return make
