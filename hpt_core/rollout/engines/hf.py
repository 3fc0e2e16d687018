"""Rollouts from a transformers model in this process: the engine that needs nothing else.

Rows of one prompt share its prefill, finished rows leave the batch, and every row draws from a
random stream of its own: what is decoded beside it moves its logits by rounding and nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from hpt_core.config import Sampling
from hpt_core.errors import TrainingError
from hpt_core.policy.model import LoadedPolicy, stop_tokens, weights_hash, whole_weights
from hpt_core.rollout.engines.attention import fast_decoding
from hpt_core.rollout.engines.sampling import draw, uniforms
from hpt_core.types import Completion, FinishReason

# Rows are dropped from the batch once this share of it has finished: dropping copies the cache.
COMPACT_AT = 0.25


class HFEngine:
    """Samples with `model.forward` and a key-value cache; implements `RolloutEngine`."""

    def __init__(
        self,
        policy: LoadedPolicy,
        slots: int = 256,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`slots` rows are decoded at once.

        A policy whose weights have another type than `dtype` is copied; else its model is shared.
        """
        self.model: PreTrainedModel = policy.model
        if policy.model.dtype != dtype:
            self.model = copy.deepcopy(policy.model).to(dtype)  # type: ignore[arg-type]
        self.device = self.model.device
        self.tokenizer = policy.tokenizer
        self.slots = slots
        self.stops = torch.tensor(sorted(stop_tokens(policy)), device=self.device)
        self.policy = weights_hash(policy.model)

    @torch.no_grad()
    def load_weights(self, model: PreTrainedModel, policy: str) -> None:
        """Of a sharded model every rank takes over the whole."""
        if model is not self.model:
            own = dict(self.model.named_parameters())
            for name, weight in whole_weights(model):
                own[name].copy_(weight)  # casts to the sampler's type
        self.policy = policy

    def sleep(self) -> None:
        """It holds nothing between calls."""

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        training = self.model.training
        self.model.eval()  # type: ignore[no-untyped-call]
        # Like lengths together need little padding; like prompts together share a prefill.
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), tuple(prompts[i]), i))
        done: dict[int, Completion] = {}
        for start in range(0, len(order), self.slots):
            rows = order[start : start + self.slots]
            with fast_decoding(self.model):
                decoded = self._decode([prompts[i] for i in rows], [seeds[i] for i in rows], sampling)
            done.update(zip(rows, decoded, strict=True))
        self.model.train(training)
        return [done[i] for i in range(len(prompts))]

    def _decode(self, prompts: list[Sequence[int]], seeds: list[int], sampling: Sampling) -> list[Completion]:
        """One batch from prefill to its last token."""
        limit = sampling.max_new_tokens
        new = torch.zeros((len(prompts), limit), device=self.device)
        tokens, logprobs = new.long(), new
        lengths = torch.full((len(prompts),), limit, device=self.device)
        stopped = torch.zeros(len(prompts), dtype=torch.bool, device=self.device)
        uniform = uniforms(seeds, limit).to(self.device)

        logits, cache, attention = self._prefill(prompts)
        live = torch.arange(len(prompts), device=self.device)  # the rows still in the batch
        for t in range(limit):
            token, logprob = draw(logits.float(), uniform[live, t], sampling)
            if logprob.isnan().any():
                raise TrainingError(self._why_nan())
            tokens[live, t], logprobs[live, t] = token, logprob
            ended = torch.isin(token, self.stops) & ~stopped[live]
            lengths[live[ended]] = t + 1
            stopped[live[ended]] = True
            going = ~stopped[live]
            if t + 1 == limit or not going.any():
                break
            if going.float().mean() <= 1 - COMPACT_AT:
                keep = going.nonzero().squeeze(1)
                cache.batch_select_indices(keep)
                live, token, attention = live[keep], token[keep], attention[keep]
            attention = torch.cat([attention, attention.new_ones(len(live), 1)], dim=1)
            logits = self._forward(token[:, None], attention, cache)
        return [
            self._completion(
                tokens[i, : lengths[i]], logprobs[i, : lengths[i]], "stop" if stopped[i] else "length"
            )
            for i in range(len(prompts))
        ]

    def _prefill(self, prompts: list[Sequence[int]]) -> tuple[Tensor, DynamicCache, Tensor]:
        """Each distinct prompt once, left-padded, then copied to its rows."""
        distinct = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
        where = {prompt: i for i, prompt in enumerate(distinct)}
        rows = torch.tensor([where[tuple(prompt)] for prompt in prompts], device=self.device)
        width = max(map(len, distinct))
        pad = self.tokenizer.pad_token_id
        input_ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in distinct], device=self.device)
        attention = torch.tensor(
            [[0] * (width - len(p)) + [1] * len(p) for p in distinct], device=self.device
        )
        cache = DynamicCache(config=self.model.config)
        logits = self._forward(input_ids, attention, cache)
        cache.batch_select_indices(rows)
        return logits[rows], cache, attention[rows]

    def _forward(self, input_ids: Tensor, attention: Tensor, cache: DynamicCache) -> Tensor:
        """Logits [B, V] of the next token; `input_ids` [B, S] are the last of `attention` [B, L]."""
        positions = (attention.cumsum(1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
        logits: Tensor = self.model(
            input_ids=input_ids,
            attention_mask=attention,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits[:, -1]

    def _why_nan(self) -> str:
        broken = [name for name, weight in self.model.named_parameters() if not weight.isfinite().all()]
        if broken:
            return (
                f"the policy's logits are NaN: {len(broken)} of its weights are not finite ({broken[0]} "
                "first); make the model anew, with a lower learning rate if training broke it"
            )
        return (
            f"the policy's logits are NaN and its weights finite: it overflows in {self.model.dtype}; set "
            "rollout.dtype: float32, or take another model if that is set"
        )

    def _completion(self, tokens: Tensor, logprobs: Tensor, reason: FinishReason) -> Completion:
        ids = tokens.tolist()
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        assert isinstance(text, str), "one sequence decodes to one text"
        return Completion(text, tuple(ids), tuple(logprobs.tolist()), reason)
