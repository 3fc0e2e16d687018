"""Rollouts from a transformers model in this process, without further dependencies.

Rows of one prompt share its prefill, finished rows leave the batch, and every row has its own random stream,
so that the other rows of the batch change its logits by rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hpt_core.config import Sampling
from hpt_core.errors import TrainingError
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy, stop_tokens, weights_hash
from hpt_core.policy.weights.precision import copy_in_dtype, empty_in_dtype
from hpt_core.protocols import PassingWeights, Progress, unheard
from hpt_core.rollout.engines.decoding import Decoder, Way, find_way
from hpt_core.rollout.engines.sampling import draw, uniforms
from hpt_core.types import Completion, FinishReason

COMPACT_AT = 0.25
"""Share of finished rows at which they are dropped from the batch; dropping copies the cache."""


class HFEngine:
    """Samples with `model.forward` and a key-value cache; implements `RolloutEngine`."""

    def __init__(
        self,
        policy: LoadedPolicy,
        slots: int = 256,
        dtype: torch.dtype = torch.float32,
        *,
        way: Way | None = None,
        own: torch.device | None = None,
    ) -> None:
        """`slots` is the number of rows that are decoded at once.

        The engine shares the policy's model if its weights have type `dtype`, and copies it otherwise. With
        `own`, since the model will be sharded or adapted, it has a model of its own on that device, whose
        weights come by `load_weights`. `way` to decode: by default it is found by trying the policy's model.

        Raises InputError for a model that cannot continue from a cache as its plain forward pass does.
        """
        self.chat = Chat(policy.tokenizer)
        self.pad = policy.tokenizer.pad_token_id
        self.way = way or find_way(policy.model, self.pad)
        self.model: PreTrainedModel = policy.model
        if own is not None:
            self.model = empty_in_dtype(policy.model, dtype, own)
        elif policy.model.dtype != dtype:
            self.model = copy_in_dtype(policy.model, dtype)
        self.device = self.model.device
        self.slots = slots
        self.stops = torch.tensor(sorted(stop_tokens(policy)), device=self.device)
        self.policy = "" if own is not None else weights_hash(policy.model)
        self.progress: Progress = unheard

    @torch.no_grad()
    def load_weights(self, weights: PassingWeights) -> None:
        """Every rank takes over the full weights of a sharded model."""
        own: dict[str, Tensor] = self.model.state_dict()
        for name, weight in weights:
            if own[name].data_ptr() != weight.data_ptr():  # not the policy's own
                own[name].copy_(weight)  # casts to the engine's dtype
        self.policy = weights.name

    def sleep(self) -> None:
        """Do nothing: this engine holds no memory between calls."""

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        assert self.policy, "call load_weights first"
        training = self.model.training
        self.model.eval()  # type: ignore[no-untyped-call]
        # Prompts of similar length need little padding; rows of one prompt share a prefill.
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), tuple(prompts[i]), i))
        completions: dict[int, Completion] = {}
        for rows in self._batches(order, prompts):

            def progress(stopped: Tensor, finished: int = len(completions)) -> None:
                self.progress(finished + int(stopped.sum()), len(prompts))

            decoded = self._decode([prompts[i] for i in rows], [seeds[i] for i in rows], sampling, progress)
            completions.update(zip(rows, decoded, strict=True))
        self.model.train(training)
        return [completions[i] for i in range(len(prompts))]

    def _batches(self, order: Sequence[int], prompts: Sequence[Sequence[int]]) -> Iterator[Sequence[int]]:
        """Cut `order` into batches that fit the slots and, without padding, have one length."""
        for _, same in groupby(order, lambda i: 0 if self.way.padded else len(prompts[i])):
            rows = list(same)
            for start in range(0, len(rows), self.slots):
                yield rows[start : start + self.slots]

    def _decode(
        self,
        prompts: list[Sequence[int]],
        seeds: list[int],
        sampling: Sampling,
        progress: Callable[[Tensor], None],
    ) -> list[Completion]:
        """Decode one batch, from the prefill to its last token. `progress` gets the stopped rows [B] bool."""
        limit = sampling.max_new_tokens
        logprobs = torch.zeros((len(prompts), limit), device=self.device)
        tokens = logprobs.long()
        lengths = torch.full((len(prompts),), limit, device=self.device)
        stopped = torch.zeros(len(prompts), dtype=torch.bool, device=self.device)
        uniform = uniforms(seeds, limit).to(self.device)

        decoder = Decoder(self.model, self.way, self.pad)
        logits = decoder.prefill(prompts)
        live = torch.arange(len(prompts), device=self.device)  # the rows still in the batch
        for t in range(limit):
            token, logprob = draw(logits.float(), uniform[live, t], sampling)
            if logprob.isnan().any():
                raise TrainingError(self._nan_cause())
            tokens[live, t], logprobs[live, t] = token, logprob
            ended = torch.isin(token, self.stops) & ~stopped[live]
            lengths[live[ended]] = t + 1
            stopped[live[ended]] = True
            progress(stopped)
            unfinished = ~stopped[live]
            if t + 1 == limit or not unfinished.any():
                break
            if unfinished.float().mean() <= 1 - COMPACT_AT:
                keep = unfinished.nonzero().squeeze(1)
                decoder.keep(keep)
                live, token = live[keep], token[keep]
            logits = decoder.extend(token)
        return [
            self._completion(
                prompt, tokens[i, : lengths[i]], logprobs[i, : lengths[i]], "stop" if stopped[i] else "length"
            )
            for i, prompt in enumerate(prompts)
        ]

    def _nan_cause(self) -> str:
        """The error message for NaN logits, with the likely cause."""
        broken = [name for name, weight in self.model.named_parameters() if not weight.isfinite().all()]
        if broken:
            return (
                f"the policy's logits are NaN: {len(broken)} of its weights are not finite ({broken[0]} "
                "is the first); rebuild the model, with a lower learning rate if training broke it"
            )
        return (
            "the policy's logits are NaN although its weights are finite: it overflows in "
            f"{self.model.dtype}; set rollout.dtype: float32, or use another model if that is already set"
        )

    def _completion(
        self, prompt: Sequence[int], tokens: Tensor, logprobs: Tensor, reason: FinishReason
    ) -> Completion:
        ids = tokens.tolist()
        return Completion(self.chat.completion(prompt, ids), tuple(ids), tuple(logprobs.tolist()), reason)
