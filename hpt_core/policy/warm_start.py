"""A small Llama policy built from scratch: tokenizer, random weights, and a first supervised training.

The result is an ordinary policy, which the stages treat like a downloaded one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hpt_core.config import WarmStart
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.optimizers import build_optimizers, rate_factor, scale_rates
from hpt_core.seeds import derive

PAD, USER, ASSISTANT, END = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}" + ASSISTANT + "{{ message.content }}" + END + "{% else %}"
    "" + USER + "{{ message.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}" + ASSISTANT + "{% endif %}"
)
FREQUENT = 0.05
"""A word in more than this share of the texts belongs to a task's wording and becomes one token. All other
text is encoded as bytes, which arithmetic and spelling tasks need."""


def build_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes, with a token for each word that is frequent in `texts`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    counts = Counter(word for text in texts for word in set(re.findall(r"\\?[A-Za-z]{3,}", text)))
    words = sorted(word for word, count in counts.items() if count > FREQUENT * len(texts))
    core.add_tokens([AddedToken(word, single_word=word.isalpha(), normalized=False) for word in words])
    core.add_special_tokens([PAD, USER, ASSISTANT, END])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token=PAD, eos_token=END)  # type: ignore[no-untyped-call]
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def model_config(config: WarmStart, vocabulary: int, **tokens: Any) -> LlamaConfig:
    """The shape of the model in `config`; `tokens` are the ids that a config names."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=config.hidden_size,
        intermediate_size=config.hidden_size * 3,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.max_positions,
        tie_word_embeddings=True,
        **tokens,
    )


def build_policy(config: WarmStart, texts: Sequence[str], seed: int) -> LoadedPolicy:
    """A model of the size in `config` with random weights, and a tokenizer for `texts`."""
    tokenizer = build_tokenizer(texts)
    torch.manual_seed(derive(seed, "init"))
    shape = model_config(
        config,
        len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(shape)  # type: ignore[no-untyped-call]
    return LoadedPolicy(model, tokenizer)


def train_warm_start(
    policy: LoadedPolicy,
    examples: Sequence[tuple[str, str]],
    config: WarmStart,
    seed: int,
    on_step: Callable[[int, float], None],
) -> None:
    """Next-token training, in place, on the solutions of (problem, worked solution) pairs.

    Learning rates rise over ten steps and fall to 0 over the last 40%. Calls `on_step(step, nll)`.
    """
    chat = Chat(policy.tokenizer)
    encoded = [(chat.prompt(problem), chat.response(solution)) for problem, solution in examples]
    model = policy.model.train()
    optimizers = build_optimizers(model, config.optimizer)
    generator = torch.Generator().manual_seed(derive(seed, "lessons"))
    for step in range(1, config.steps + 1):
        indices = torch.randint(len(encoded), (config.batch_size,), generator=generator).tolist()
        input_ids, labels, attention = _batch([encoded[i] for i in indices], policy.tokenizer.pad_token_id)
        loss = model(input_ids=input_ids, attention_mask=attention, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scale_rates(optimizers, rate_factor(step, config.steps, warmup=10, cooldown=2 * config.steps // 5))
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
        on_step(step, float(loss.detach()))
    model.eval()


def _batch(
    pairs: list[tuple[list[int], list[int]]], pad: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[B, T] tokens, labels (-100 outside the responses) and attention mask, right-padded."""
    length = max(len(prompt) + len(response) for prompt, response in pairs)
    input_ids = torch.full((len(pairs), length), pad)
    labels = torch.full((len(pairs), length), -100)
    attention = torch.zeros((len(pairs), length), dtype=torch.long)
    for row, (prompt, response) in enumerate(pairs):
        end = len(prompt) + len(response)
        input_ids[row, :end] = torch.tensor(prompt + response)
        labels[row, len(prompt) : end] = torch.tensor(response)
        attention[row, :end] = 1
    return input_ids, labels, attention
