"""Checks of a loaded model in use: as it is sampled, saved, and trained with adapters."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch
from torch import nn

from hpt_core.config import LoraConfig, RolloutConfig
from hpt_core.errors import InputError
from hpt_core.policy.chat import Chat
from hpt_core.policy.loading.attention import attention_difference
from hpt_core.policy.loading.checked import load_unchecked, read_files
from hpt_core.policy.loading.rope import changing_length
from hpt_core.policy.lora import with_lora
from hpt_core.policy.model import LoadedPolicy, save_policy, stop_tokens, weights_hash
from hpt_core.policy.sizes import positions
from hpt_core.policy.weights.hashed import HashedWeights
from hpt_core.rollout.engine_check import LIMITS, EngineCheck
from hpt_core.rollout.engines.decoding import find_way
from pipelines.cli.check_rows import Doubt, NotRun
from pipelines.stage.sampler import start_engine

PROBLEMS = (
    "What is 3 + 4?",
    "Spell this word backward: kayak",
    "Natalia sold 48 clips in April, and half as many in May. How many clips did she sell altogether?",
)
SAME_ATTENTION = 1e-3
"""Largest difference, in nats, between the attention that a model runs with and the plain one."""


class ModelInUse:
    """The checks of one model with the engine of `rollout`; none is run for a model that did not load."""

    engine: EngineCheck | None = None

    def __init__(self, loaded: LoadedPolicy | None, rollout: RolloutConfig) -> None:
        self.loaded, self.rollout = loaded, rollout

    def checks(self) -> dict[str, Callable[[], str]]:
        """Name of the check -> the check, in order."""
        return {
            "end tokens": self.ends,
            "positions": self.positions,
            "attention": self.attention,
            "decoding from a cache": self.cache,
            f"engine {self.rollout.engine}": self.samples,
            "greedy tokens": self.greedy,
            "save and reload": self.reload,
            "LoRA, merged and pushed": self.adapters,
        }

    @property
    def policy(self) -> LoadedPolicy:
        if self.loaded is None:
            raise NotRun("a model that loads")
        return self.loaded

    def ends(self) -> str:
        tokens = sorted(stop_tokens(self.policy))
        if not tokens:
            raise InputError("no token ends a response; set eos_token in tokenizer_config.json")
        tokenizer = self.policy.tokenizer
        named = {token: f"{tokenizer.decode([token])} ({token})" for token in tokens}
        marks = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        if ordinary := [name for token, name in named.items() if token not in marks]:
            raise Doubt(
                f"{', '.join(named.values())}, of which {', '.join(ordinary)} is an ordinary token of text; "
                "unless it ends a response, correct eos_token_id in config.json and generation_config.json"
            )
        return ", ".join(named.values())

    def positions(self) -> str:
        model = self.policy.model
        limit, changes = positions(model), changing_length(model.config.get_text_config())
        if limit is not None and limit == changes:
            raise Doubt(f"{limit}; beyond them its rope would change, so longer texts are refused")
        return "no limit" if limit is None else f"{limit}"

    def attention(self) -> str:
        model = self.policy.model
        name = str(model.config._attn_implementation)
        if name == "eager" or not model._can_set_attn_implementation():
            return name
        device = model.device
        tokens = torch.tensor([(self._prompts()[-1] * 8)[:64]], device=device)
        difference = attention_difference(model, tokens)
        if not difference <= SAME_ATTENTION:
            raise InputError(
                f"{name} attention is {difference:.2g} nats from the plain one, so it leaves out a part of "
                'the scores; set "_attn_implementation": "eager" in config.json, and report the family'
            )
        return f"{name}, {difference:.1g} nats from the plain one"

    def cache(self) -> str:
        try:
            way = find_way(self.policy.model, self.policy.tokenizer.pad_token_id or 0)
        except InputError as error:
            if self.rollout.engine == "hf":
                raise
            raise Doubt(str(error)) from error
        if way.fast:
            return "padded batches, fast attention"
        return "padded batches" if way.padded else "batches of prompts of one length, which is slower"

    def samples(self) -> str:
        rollout, policy = self.rollout, self.policy
        engine = start_engine(rollout, policy)
        check = EngineCheck(engine, policy.model, policy.model, self._prompts(), rollout)
        fault = check.fault()
        self.engine = check
        assert check.before is not None
        differences = check.before.differences
        mean, largest = fmean(differences), max(differences)
        limits = LIMITS[rollout.engine, rollout.dtype]
        if fault is not None and not (mean <= limits.mean and largest <= limits.largest):
            raise InputError(fault)
        return (
            f"{rollout.dtype}: {mean:.1g} nats from a plain forward pass on average, {largest:.1g} at most "
            f"(limits {limits.mean:g} and {limits.largest:g}, {len(differences)} tokens)"
        )

    def greedy(self) -> str:
        if self.engine is None or self.engine.before is None:
            raise NotRun("an engine that samples")
        gap, limit = self.engine.before.greedy_gap, LIMITS[self.rollout.engine, self.rollout.dtype].largest
        if not gap <= limit:
            raise InputError(
                f"one is {gap:.2g} nats less likely than another in a plain forward pass (limit {limit:g}); "
                "set rollout.dtype: float32, or another rollout.engine"
            )
        return "the most likely ones of a plain forward pass" + (f", within {gap:.1g} nats" if gap else "")

    def reload(self) -> str:
        before = weights_hash(self.policy.model)
        with TemporaryDirectory() as folder:
            save_policy(self.policy, Path(folder))
            after = weights_hash(load_unchecked(read_files(Path(folder))).model)
        if after != before:
            raise InputError(f"the saved folder has other weights ({after}) than the model ({before})")
        return f"weights {before}"

    def adapters(self) -> str:
        """The last check: an engine that shares the model's weights takes the merged ones over."""
        if self.engine is None:
            raise NotRun("an engine that samples")
        policy = self.policy
        copied = policy._replace(model=copy.deepcopy(policy.model))
        adapted = with_lora(copied, LoraConfig(rank=4), seed=1)
        with torch.no_grad():
            for name, parameter in adapted.model.named_parameters():
                if "lora_B" in name:
                    nn.init.constant_(parameter, 0.02)
        engine = self.engine.engine
        engine.load_weights(HashedWeights(adapted.model))
        check = EngineCheck(engine, adapted.model, adapted.model, self._prompts(), self.rollout)
        fault = check.fault()
        if fault is not None:
            raise InputError(fault)
        assert check.before is not None
        return f"{fmean(check.before.differences):.1g} nats from a plain forward pass on average"

    def _prompts(self) -> list[list[int]]:
        chat = Chat(self.policy.tokenizer)
        return [chat.prompt(problem) for problem in PROBLEMS]
