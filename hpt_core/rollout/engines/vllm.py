"""Rollouts from vLLM in the trainer's process; new weights are handed over in memory, without a file."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch

from hpt_core.config import LoraConfig, Sampling, VLLMConfig
from hpt_core.errors import EngineError, InputError, TrainingError
from hpt_core.policy.chat import Chat
from hpt_core.policy.model import LoadedPolicy, stop_tokens
from hpt_core.policy.weights.hashed import HashedWeights
from hpt_core.policy.weights.merged import named_weights
from hpt_core.protocols import PassingWeights, Progress, unheard
from hpt_core.rollout.engines.checkpoint_names import checkpoint_weights
from hpt_core.rollout.engines.reloading import after_reload, before_reload
from hpt_core.rollout.engines.vllm_adapters import replace_adapters, request_for
from hpt_core.rollout.engines.vllm_errors import KEPT, engine_error
from hpt_core.rollout.engines.vllm_progress import followed
from hpt_core.rollout.engines.vllm_start import start
from hpt_core.types import Completion

FINISHED = {"stop", "length"}


class VLLMEngine:
    """Implements `RolloutEngine`. On a GPU it sleeps while the policy trains.

    Its log-probabilities are those of the distribution at the sampling temperature, which the loss uses. With
    top-p there are none, because vLLM's would be those of the truncated distribution.
    """

    def __init__(
        self,
        policy: LoadedPolicy,
        slots: int = 256,
        dtype: torch.dtype = torch.float32,
        config: VLLMConfig | None = None,
        *,
        ranks: int = 1,
        adapters: LoraConfig | None = None,
    ) -> None:
        """`slots` is the number of rows that are decoded at once, in `dtype`.

        ranks: processes of a launcher, each of which builds one. Groups of `config.tensor_parallel` of them
        hold a copy of the weights and must be asked for the same. With several, `policy` may be a model
        without weights: the first are those of the first `load_weights`.

        adapters: those that will be loaded beside the weights, which then come by `load_weights`, too. None:
        all weights come with each `load_weights`.

        Raises InputError if vLLM is not installed or cannot have such adapters, and EngineError if it does
        not start.
        """
        self.chat, self.slots, self.policy = Chat(policy.tokenizer), slots, ""
        self.stops = sorted(stop_tokens(policy))
        self.sleeps, self.awake = torch.cuda.is_available(), True
        self.progress: Progress = unheard
        self.base, self.adapters = "", 0
        # At level 2 the weights are gone, as they may be where all of them come again.
        self.sleep_level = 2 if adapters is None else 1
        self.llm = start(policy, slots, dtype, config or VLLMConfig(), ranks, adapters)
        if ranks == 1 and adapters is None:
            self.load_weights(HashedWeights(policy.model))

    @torch.no_grad()
    def load_weights(self, weights: PassingWeights) -> None:
        """Every rank takes over the full weights of a sharded model."""
        self.policy = ""
        assert weights.base in ("", self.base), "the adapters belong to other weights"
        try:
            if not self.awake:
                self.llm.wake_up(tags=["weights"])
            if weights.base:
                self._replace_adapters(weights)
            else:
                self._replace_weights(weights)
            if not self.awake:
                self.llm.wake_up(tags=["kv_cache"])
        except (EngineError, InputError):
            raise
        except Exception as error:
            raise engine_error("did not take the new weights", error) from error
        self.awake, self.policy = True, weights.name

    def _replace_weights(self, weights: PassingWeights) -> None:
        model, self.adapters = weights.model, 0
        if not self.sleeps:
            self.llm.collective_rpc(before_reload)
        pushed = checkpoint_weights(model, weights)
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": pushed})
        deque(pushed, maxlen=0)  # what vLLM's loader left unread is a part of the hash
        self.llm.collective_rpc(after_reload, args=(checkpoint_weights(model, named_weights(model)),))
        self.base = weights.name

    def _replace_adapters(self, adapters: PassingWeights) -> None:
        number, tensors = self.adapters + 1, dict(adapters)
        for unknown in self.llm.collective_rpc(replace_adapters, args=(number, tensors)):
            if unknown:
                raise InputError(
                    f"rollout.vllm.lora: vLLM has no layer for the adapters of {', '.join(unknown[:3])}; "
                    "leave these layers out of train.lora.targets, or set rollout.vllm.lora: false"
                )
        self.adapters = number

    def sleep(self) -> None:
        """Free the GPU memory of weights and cache; on a CPU nothing is freed.

        Weights that adapters are added to wait in host memory, since they do not come again.
        """
        if self.sleeps and self.awake:
            self.llm.sleep(level=self.sleep_level)
            self.awake, self.policy = False, ""

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        from vllm import SamplingParams

        assert self.policy, "call load_weights first, and after sleep"
        self._check_room(prompts, sampling)
        sampling_params = [
            SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_new_tokens,
                seed=seed,
                stop_token_ids=self.stops,
                ignore_eos=True,  # vLLM's own end tokens are fewer or more than those of `stop_tokens`
                logprobs=0,
                detokenize=False,
            )
            for seed in seeds
        ]
        # With a cached prefix of an earlier call, vLLM splits the computation and rounds it differently.
        self.llm.reset_prefix_cache()
        try:
            with followed(self.llm.llm_engine, self.progress, len(prompts)):
                outputs = self.llm.generate(
                    [{"prompt_token_ids": list(prompt)} for prompt in prompts],
                    sampling_params,
                    use_tqdm=False,
                    lora_request=request_for(self.adapters),
                )
        # An engine that stopped raises errors of many kinds.
        except Exception as error:
            raise engine_error(f"stopped while sampling {len(prompts)} responses", error) from error
        keep_logprobs = sampling.top_p == 1
        return [
            self._completion(prompt, output.outputs[0], keep_logprobs=keep_logprobs)
            for prompt, output in zip(prompts, outputs, strict=True)
        ]

    def _check_room(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> None:
        """With a small cache vLLM has fewer positions than the model, and would truncate responses."""
        room = self.llm.llm_engine.model_config.max_model_len
        longest = max(map(len, prompts), default=0) + sampling.max_new_tokens
        if longest > room:
            raise EngineError(
                f"a prompt and its response may have {longest} tokens, and vLLM has room for {room}; raise "
                "rollout.vllm.cpu_cache_gib (rollout.vllm.memory on a GPU), or lower the maximum number of "
                "new tokens"
            )

    def _completion(self, prompt: Sequence[int], output: Any, *, keep_logprobs: bool) -> Completion:
        ids = tuple(output.token_ids)
        if output.finish_reason not in FINISHED:
            raise EngineError(f"vLLM aborted a response ({output.finish_reason}); {KEPT}")
        logprobs = tuple(entry[token].logprob for entry, token in zip(output.logprobs, ids, strict=True))
        if any(map(math.isnan, logprobs)):
            raise TrainingError(
                "the policy's logits are NaN in vLLM; if they are NaN with `rollout.engine: hf` as well, the "
                "policy is broken, else set rollout.dtype: float32"
            )
        text = self.chat.completion(prompt, ids)
        return Completion(text, ids, logprobs if keep_logprobs else (), output.finish_reason)
