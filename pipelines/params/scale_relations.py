"""The relations between ranks, replicas and engines: the part of `pipelines.params.relations` about scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpt_core.config import SERVED_RANKS
from hpt_core.config.base import error_at

if TYPE_CHECKING:
    from pipelines.params.schema import Params


def ranks_are_whole_engines(params: Params) -> None:
    ranks, group = params.train.ranks, params.rollout.vllm.tensor_parallel
    if params.rollout.engine == "vllm" and ranks > 1 and ranks % group:
        raise error_at(
            ("rollout", "vllm", "tensor_parallel"),
            f"{group} does not divide train.ranks, {ranks}; give a number that does, or 1 for a whole copy "
            "of the sampler's weights on each rank",
        )


def ranks_are_whole_contexts(params: Params) -> None:
    train = params.train
    if train.ranks % train.context_parallel:
        raise error_at(
            ("train", "context_parallel"),
            f"{train.context_parallel} does not divide train.ranks, {train.ranks}; give a number that does, "
            "or 1 for rows that one rank computes",
        )
    if train.context_parallel > 1 and train.packing:
        raise error_at(
            ("train", "context_parallel"), "ranks cannot share packed rows; set it to 1, or packing to false"
        )


def bfloat16_is_gathered_where_all_compute_in_it(params: Params) -> None:
    """The check of the engine and the sampler's types assume what the trainer computes in."""
    train = params.train
    if train.gathered_dtype == "bfloat16" and not train.autocast == params.rollout.dtype == "bfloat16":
        raise error_at(
            ("train", "gathered_dtype"),
            f"bfloat16 needs train.autocast and rollout.dtype: bfloat16, which are {train.autocast} "
            f"and {params.rollout.dtype}; set them, or set it to float32",
        )
    if train.gathered_dtype == "bfloat16" and any(each.algorithm == "ppo" for each in train.per_phase):
        raise error_at(
            ("train", "gathered_dtype"), "ppo's values need more digits than bfloat16 has; set it to float32"
        )


def replicas_hold_whole_copies(params: Params) -> None:
    if params.rollout.placement == "separate" and params.rollout.vllm.tensor_parallel > 1:
        raise error_at(
            ("rollout", "vllm", "tensor_parallel"),
            "a replica of the sampler holds a whole copy of its weights; set 1, or rollout.placement: shared",
        )


def served_adapters_are_trained(params: Params) -> None:
    lora, key = params.train.lora, ("rollout", "vllm", "lora")
    if not params.rollout.vllm.lora:
        return
    if lora is None:
        raise error_at(key, "there are no adapters to serve; set train.lora, or remove it")
    if params.rollout.engine != "vllm":
        raise error_at(
            key, "rollout.engine hf samples from merged weights; set it to vllm, or remove this key"
        )
    if lora.rank > SERVED_RANKS[-1]:
        raise error_at(
            ("train", "lora", "rank"),
            f"vLLM serves adapters up to rank {SERVED_RANKS[-1]}; lower it, or set rollout.vllm.lora: false",
        )
