"""Two samplers side by side: transformers' generate on a static batch, timings in turn, and their ratio."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from hpt_core.config import Sampling
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy, stop_tokens
from hpt_core.policy.warm_start import build_tokenizer
from hpt_core.rollout.engines.hf import HFEngine
from tests.bench.inputs import load_model
from tests.bench.table import show

LONGEST = 64
PAIRS = 9
"""Pairs of timings. The median of their ratios is reported, since a machine may be slow for a while."""
Prompts = Sequence[Sequence[int]]


def gpu_engine(folder: Path | None) -> None:
    """Compare HFEngine with transformers' generate on a GPU, eight responses to each of 32 prompts."""
    if not torch.cuda.is_available():
        print("skipped: no GPU")
        return
    policy = LoadedPolicy(load_model(folder).bfloat16().eval(), _tokenizer())
    chat = Chat(policy.tokenizer)
    prompts = [chat.prompt(f"What is {i} + {7 * i}?") for i in range(32) for _ in range(8)]
    engine = HFEngine(policy, dtype=torch.bfloat16)
    sampling = Sampling(temperature=1.0, max_new_tokens=LONGEST)

    def sample_with_engine() -> int:
        completions = engine.generate(prompts, range(len(prompts)), sampling)
        return sum(len(completion.token_ids) for completion in completions)

    rates = alternate(lambda: static_batch(policy, prompts), sample_with_engine)
    name, count = torch.cuda.get_device_name(), sum(p.numel() for p in policy.model.parameters())
    title = f"{count / 1e9:.1f}B parameters, bfloat16, {len(prompts)} rows, {name}"
    show_rates(title, ("transformers generate", "HFEngine"), rates, required="1")


@torch.no_grad()
def static_batch(policy: LoadedPolicy, prompts: Prompts) -> int:
    """Sample all rows until the last has ended; returns the number of tokens up to each end-of-turn token."""
    width, pad, device = max(map(len, prompts)), policy.tokenizer.pad_token_id, policy.model.device
    padding = [width - len(prompt) for prompt in prompts]
    padded = [[pad] * count + list(prompt) for count, prompt in zip(padding, prompts, strict=True)]
    ids = torch.tensor(padded, device=device)
    mask = torch.tensor([[0] * count + [1] * (width - count) for count in padding], device=device)
    torch.manual_seed(1)
    output: Any = policy.model.generate(
        ids, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=LONGEST, pad_token_id=pad
    )
    stops = torch.tensor(sorted(stop_tokens(policy)), device=device)
    ended = torch.isin(output[:, width:], stops)
    first = torch.where(ended.any(1), ended.int().argmax(1) + 1, ended.shape[1])
    return int(first.sum())


def alternate(
    library: Callable[[], int], engine: Callable[[], int], between: Callable[[], Any] = lambda: None
) -> tuple[list[float], list[float]]:
    """Tokens per second of library and engine in turn, after a first pair that is not counted."""
    rates: tuple[list[float], list[float]] = ([], [])
    for pair in range(1 + PAIRS):
        for own_rates, sample in zip(rates, (library, engine), strict=True):
            between()
            start = time.perf_counter()
            tokens = sample()
            if pair:
                own_rates.append(tokens / (time.perf_counter() - start))
    return rates


def show_rates(
    title: str, names: tuple[str, str], rates: tuple[list[float], list[float]], required: str
) -> None:
    ratio = median(engine / library for library, engine in zip(*rates, strict=True))
    cells = [f"{median(each):,.0f} ({min(each):,.0f} to {max(each):,.0f})" for each in rates]
    show(
        title,
        ["sampler", "tokens/s", "ratio", "required"],
        [[names[0], cells[0], "", ""], [names[1], cells[1], f"{ratio:.2f}", required]],
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer(["State the final answer: 3 + 4 =", "What is 3?"])
