"""How a model's forward pass decodes a batch of rows from a cache; the way is found by trying it.

Families differ in what their forward pass does with a cache, with padding and with an attention function that
it does not know, and declare it nowhere reliably. Recurrent layers may read padding as text, some models
ignore the cache that they are given, and some choose their code by the name of their attention function.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from hpt_core.errors import InputError, one_line
from hpt_core.rollout.engines.attention import can_decode_fast, fast_decoding

TOLERANCE = 5e-3
"""Largest deviation from a plain forward pass, relative to the spread of the log-probabilities over the
vocabulary. Rounding in float32 is below 1e-4; a model that ignores its cache deviates by 1."""
TRIAL_LENGTHS, TRIAL_STEPS = (6, 3), 3
"""Lengths of the two prompts of a trial, and the number of tokens that it decodes."""


class Way(NamedTuple):
    """One way to decode."""

    padded: bool
    """Prompts of different lengths share a batch, padded on their left."""
    fast: bool
    """One new token is attended to by `attention.decode_attention`."""


WAYS = (Way(padded=True, fast=True), Way(padded=True, fast=False), Way(padded=False, fast=False))
"""Fastest first."""


class Decoder:
    """A batch of rows: their cache and their attention mask."""

    def __init__(self, model: PreTrainedModel, way: Way, pad: int) -> None:
        self.model, self.way, self.pad = model, way, pad
        self.known = inspect.signature(model.forward).parameters

    def prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Logits [B, V] of the first token of each row. Every distinct prompt is computed once.

        Prompts of a batch that is not padded have one length.
        """
        distinct = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
        index = {prompt: i for i, prompt in enumerate(distinct)}
        width, device = max(map(len, distinct)), self.model.device
        assert self.way.padded or all(len(prompt) == width for prompt in distinct)
        input_ids = torch.tensor([[self.pad] * (width - len(p)) + list(p) for p in distinct], device=device)
        self.mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in distinct], device=device)
        self.cache = DynamicCache(config=self.model.config)
        logits = self._forward(input_ids)
        rows = torch.tensor([index[tuple(prompt)] for prompt in prompts], device=device)
        self.keep(rows)
        return logits[rows]

    def keep(self, rows: Tensor) -> None:
        """Select rows [B'] of the batch, in this order."""
        # `batch_select_indices` leaves out the states of recurrent layers.
        self.cache.reorder_cache(rows)  # type: ignore[arg-type]
        self.mask = self.mask[rows]

    def extend(self, tokens: Tensor) -> Tensor:
        """Logits [B, V] of the token after `tokens` [B]."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        return self._forward(tokens[:, None])

    def _forward(self, input_ids: Tensor) -> Tensor:
        """Logits [B, V] of the next token; `input_ids` [B, S] belong to the end of the mask [B, L]."""
        positions = (self.mask.cumsum(1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
        arguments: dict[str, Any] = {
            "past_key_values": self.cache,
            "cache_params": self.cache,  # Mamba's name for it
            "attention_mask": self.mask if self.way.padded else None,
            "position_ids": positions,
            "logits_to_keep": 1,
        }
        taken = {name: value for name, value in arguments.items() if name in self.known}
        with fast_decoding(self.model) if self.way.fast else nullcontext():
            logits: Tensor = self.model(input_ids=input_ids, use_cache=True, **taken).logits
        return logits[:, -1]


def find_way(model: PreTrainedModel, pad: int) -> Way:
    """The fastest way to decode with `model` that agrees with its plain forward pass.

    Raises InputError, with the deviation, for a model that agrees in no way.
    """
    training = model.training
    model.eval()  # type: ignore[no-untyped-call]
    try:
        return _first_that_agrees(model, pad)
    finally:
        model.train(training)


def _first_that_agrees(model: PreTrainedModel, pad: int) -> Way:
    reasons = []
    for way in WAYS:
        if way.fast and not can_decode_fast(model):
            continue
        try:
            deviation, nats = _deviation(model, way, pad)
        # A model may raise anything about a cache or an argument that it does not know.
        except Exception as error:
            reasons.append(one_line(error, 120))
            continue
        if deviation <= TOLERANCE:
            return way
        reasons.append(f"decoding from its cache gives log-probabilities that are {nats:.2g} nats off")
    raise InputError(
        f"{type(model).__name__} cannot be sampled with rollout.engine: hf: {reasons[-1]}; use another "
        "model, or rollout.engine: vllm if vLLM has this one"
    )


@torch.no_grad()
def _deviation(model: PreTrainedModel, way: Way, pad: int) -> tuple[float, float]:
    """The largest deviation of decoded log-probabilities: relative as `TOLERANCE` is, and in nats.

    The trial has the parts of real decoding: a prompt that two rows share, and a row that leaves the batch.
    """
    vocabulary = model.config.get_text_config().vocab_size
    long, short = ([(5 + 7 * i + length) % vocabulary for i in range(length)] for length in TRIAL_LENGTHS)
    prompts = [long, short, long] if way.padded else [long, long[::-1], long]
    decoder = Decoder(model, way, pad)
    decoded = [decoder.prefill(prompts)]
    rows = [list(prompt) for prompt in prompts]
    expected = [_plain(model, rows)]
    for step in range(TRIAL_STEPS):
        if step == 1:
            rows = rows[1:]
            decoder.keep(torch.tensor([1, 2], device=model.device))
        tokens = [(11 + 3 * step + 5 * i) % vocabulary for i in range(len(rows))]
        rows = [[*row, token] for row, token in zip(rows, tokens, strict=True)]
        decoded.append(decoder.extend(torch.tensor(tokens, device=model.device)))
        expected.append(_plain(model, rows))
    worst, nats = 0.0, 0.0
    for logits, plain in zip(decoded, expected, strict=True):
        logp = plain.float().log_softmax(-1)
        off = (logits.float().log_softmax(-1) - logp).abs().amax(-1)
        worst, nats = max(worst, float((off / logp.std(-1)).max())), max(nats, float(off.max()))
    return worst, nats


def _plain(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """Logits [B, V] after each row, from a forward pass of the row alone, without padding or cache."""
    return torch.cat(
        [
            model(input_ids=torch.tensor([row], device=model.device), use_cache=False).logits[:, -1]
            for row in rows
        ]
    )
