"""Inputs of the training steps that are compared: a model, and rollouts with their rewards.

The rollouts are made before any timing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from hpt_core.policy.batching import TrainingRow


@dataclass(frozen=True)
class Shape:
    """Numbers of groups by their rewards, and numbers of tokens of their prompts and responses."""

    failed: int
    """Groups in which no rollout is correct."""
    solved: int
    """Groups in which every rollout is correct."""
    mixed: int
    """Groups in which every other rollout is correct."""
    prompt: tuple[int, int]
    """Tokens of the shortest and of the longest prompt; the other lengths are spread evenly between them."""
    response: tuple[int, int]
    """Tokens of the shortest and of the longest response of each group."""
    size: int = 4
    """Rollouts of a group."""

    @property
    def rows(self) -> int:
        return self.groups * self.size

    @property
    def groups(self) -> int:
        return self.failed + self.solved + self.mixed

    @property
    def width(self) -> int:
        """Tokens of a row when the whole batch is padded to one length."""
        return self.prompt[1] + self.response[1]


GPU = torch.cuda.is_available()
# With 40 rows a step of TRL takes about 20 s on two cores, and all comparisons about ten minutes. A GPU gets
# the lengths of a run on mathematics.
PROMPT, RESPONSE = ((128, 256), (256, 2048)) if GPU else ((16, 32), (8, 64))
SOME_EQUAL = Shape(failed=4, solved=3, mixed=3, prompt=PROMPT, response=(RESPONSE[1] // 4, RESPONSE[1]))
ALL_MIXED = Shape(failed=0, solved=0, mixed=10, prompt=PROMPT, response=RESPONSE)
SMOLLM2_135M = LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    max_position_embeddings=8192,
    rms_norm_eps=1e-5,
    rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
    tie_word_embeddings=True,
)
QWEN2_5_1_5B = Qwen2Config(
    vocab_size=151_936,
    hidden_size=1536,
    intermediate_size=8960,
    num_hidden_layers=28,
    num_attention_heads=12,
    num_key_value_heads=2,
    max_position_embeddings=32_768,
    rms_norm_eps=1e-6,
    rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
    tie_word_embeddings=True,
)
MICRO_ROWS = 8
"""Rows of one forward pass when padded to the width of the batch; TRL's default."""


def load_model(folder: Path | None) -> PreTrainedModel:
    """The model in `folder`, in float32, on the GPU if there is one.

    Without a folder, a model of random weights: a Llama of SmolLM2-135M's shape, or on a GPU a Qwen2 of
    Qwen2.5-1.5B's. The cost of a step depends on the shape, not on the weights.
    """
    device = torch.device("cuda" if GPU else "cpu")
    if folder is not None:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device)
    torch.manual_seed(0)
    with device:
        return Qwen2ForCausalLM(QWEN2_5_1_5B) if GPU else LlamaForCausalLM(SMOLLM2_135M)


def rollouts(shape: Shape, vocabulary: int, seed: int = 0) -> list[TrainingRow]:
    """Rollouts of random tokens, group by group: the failed, the solved, then the mixed groups."""
    random = torch.Generator().manual_seed(seed)

    def tokens(count: int) -> list[int]:
        return torch.randint(3, vocabulary, (count,), generator=random).tolist()

    def spread(count: int, limits: tuple[int, int]) -> list[int]:
        lengths = torch.linspace(*limits, count).round().int()
        return lengths[torch.randperm(count, generator=random)].tolist()

    rewards = [[0.0] * shape.size] * shape.failed + [[1.0] * shape.size] * shape.solved
    rewards += [[float(i % 2) for i in range(shape.size)]] * shape.mixed
    rows = []
    for group, prompt_length in enumerate(spread(shape.groups, shape.prompt)):
        prompt = tokens(prompt_length)
        for reward, length in zip(rewards[group], spread(shape.size, shape.response), strict=True):
            rows.append(TrainingRow(str(group), prompt, tokens(length), [0.0] * length, reward, group, None))
    return rows


@torch.no_grad()
def on_policy(model: PreTrainedModel, rows: Sequence[TrainingRow]) -> list[TrainingRow]:
    """The rows with the log-probabilities of `model`, as if it had sampled them.

    Both trainers then start from a ratio of 1, and the norms of their first gradients can be compared.
    """
    model.eval()
    with_logp = []
    for row in rows:
        tokens = torch.tensor([[*row.prompt, *row.response]], device=model.device)
        with torch.autocast(model.device.type, torch.bfloat16):
            logits = model(tokens, logits_to_keep=len(row.response) + 1).logits[0, :-1]
        logp = logits.float().log_softmax(-1).gather(1, tokens[0, len(row.prompt) :, None]).squeeze(1)
        with_logp.append(replace(row, logp_old=logp.tolist()))
    return with_logp
