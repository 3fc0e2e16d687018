"""The engine that a stage samples with: one in its own process, or replicas in processes of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from hpt_core.config import LoraConfig, RolloutConfig
from hpt_core.errors import InputError
from hpt_core.policy.model import LoadedPolicy, load_policy
from hpt_core.policy.sizes import check_positions
from hpt_core.policy.weights.hashed import HashedWeights
from hpt_core.protocols import ReportingEngine, RolloutEngine
from hpt_core.rollout.engine_check import EngineCheck
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.engines.reloading import WRITES_WEIGHTS_ITSELF
from hpt_core.rollout.engines.vllm import VLLMEngine
from hpt_core.rollout.replicas.engine import Replicas
from pipelines.params import Params


def build_engine(params: Params, policy: LoadedPolicy) -> RolloutEngine:
    """The engine of `rollout.engine`, with the weights of `policy`.

    Raises InputError where the longest prompt with the longest response exceeds the model's positions.
    """
    check_room(params, policy)
    return start_engine(params.rollout, policy)


def check_room(params: Params, policy: LoadedPolicy) -> None:
    """Raises InputError where the longest prompt with the longest response exceeds the model's positions."""
    longest = params.rollout.max_prompt_tokens + params.rollout.max_new_tokens
    check_positions(
        policy.model,
        longest,
        f"rollout.max_prompt_tokens + rollout.max_new_tokens is {longest}",
        "lower one of them in params.yaml",
    )


def start_engine(
    config: RolloutConfig, policy: LoadedPolicy, adapters: LoraConfig | None = None
) -> ReportingEngine:
    """The engine of `config` with the weights of `policy`, for texts of any length.

    With `adapters`, which vLLM serves beside the weights, both are those of the first `load_weights`.
    """
    dtype = getattr(torch, config.dtype)
    if config.engine == "vllm":
        return VLLMEngine(policy, config.slots, dtype, config.vllm, adapters=adapters)
    return HFEngine(policy, config.slots, dtype)


@contextmanager
def checked_engine(
    params: Params,
    policy: LoadedPolicy,
    folder: Path,
    prompts: Collection[Sequence[int]],
    temperature: float | None = None,
) -> Iterator[RolloutEngine]:
    """The sampler of a stage that does nothing else, with the weights of `policy`, loaded from `folder`.

    A check on a few of the `prompts` comes first: that it samples `policy`. `temperature` is that of the
    rollouts unless it is given; 0 is checked at 1. Raises InputError.
    """
    if params.rollout.placement == "shared":
        engine = build_engine(params, policy)
        _check(engine, params, policy, prompts, temperature)
        yield engine
        return
    check_room(params, policy)
    with started_replicas(params, folder, policy.model.device) as replicas:
        replicas.load_weights(HashedWeights(policy.model))
        _check(replicas, params, policy, prompts, temperature)
        yield replicas


@contextmanager
def started_replicas(
    params: Params,
    folder: Path,
    device: torch.device,
    first_gpu: int = 0,
    adapters: LoraConfig | None = None,
) -> Iterator[Replicas]:
    """Replicas of the policy in `folder`, to which weights on `device` are sent; they end with the block."""
    build = partial(build_replica, params.rollout, folder.resolve(), adapters)
    rollout = params.rollout
    replicas = Replicas(
        build, rollout.replicas, params.threads, device, first_gpu, timeout=rollout.replica_timeout_s
    )
    try:
        yield replicas
    finally:
        replicas.close()


def build_replica(
    config: RolloutConfig, folder: Path, adapters: LoraConfig | None = None
) -> tuple[ReportingEngine, LoadedPolicy]:
    """The engine of a replica, in its process. Raises InputError for a model that cannot be sent to it."""
    policy = load_policy(folder)
    name = type(policy.model).__name__
    if config.engine == "vllm" and name in WRITES_WEIGHTS_ITSELF:
        raise InputError(
            f"rollout.placement: vLLM reads the weights of {name} twice, and a replica gets them once; set "
            "it to shared, or rollout.engine: hf"
        )
    engine = start_engine(config, policy, adapters)
    if config.engine == "vllm":  # which has a copy of its own, so that only names and shapes are needed here
        policy.model.to("meta")  # type: ignore[arg-type]
        policy.model.tie_weights()  # which `to` separates
    return engine, policy


def _check(
    engine: RolloutEngine,
    params: Params,
    policy: LoadedPolicy,
    prompts: Collection[Sequence[int]],
    temperature: float | None,
) -> None:
    check = EngineCheck(engine, policy.model, policy.model, prompts, params.rollout, temperature)
    if fault := check.fault():
        raise InputError(fault)
