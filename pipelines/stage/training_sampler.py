"""The sampler of training: an engine in each rank, or replicas that the main rank talks to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from hpt_core.config import served_adapters
from hpt_core.policy.model import LoadedPolicy
from hpt_core.protocols import RolloutEngine
from hpt_core.rollout.engines.decoding import find_way
from hpt_core.rollout.engines.hf import HFEngine
from hpt_core.rollout.engines.vllm import VLLMEngine
from hpt_core.trainer.engine_of_main import EngineOfMain
from hpt_core.trainer.ranks import Ranks
from pipelines.params import Params
from pipelines.stage.sampler import build_engine, check_room, started_replicas


@contextmanager
def training_engine(
    params: Params, policy: LoadedPolicy, base: Path, ranks: Ranks
) -> Iterator[RolloutEngine]:
    """A sampler for a policy like `policy`, which was loaded from `base`; replicas end with the block.

    Its first weights are those of the first `load_weights`. The main rank alone needs `policy` with weights.

    Raises InputError as `build_engine` does, and where a replica has no GPU of its own.
    """
    check_room(params, policy)
    if params.rollout.placement == "shared":
        yield _engine_of_rank(params, policy, ranks)
        return
    device, apart = ranks.device, ranks.apart("sampling")
    main_s = (
        started_replicas(params, base, device, ranks.count, served_adapters(params.train, params.rollout))
        if ranks.main
        else nullcontext()
    )
    with main_s as replicas:
        yield EngineOfMain(replicas, apart)


def _engine_of_rank(params: Params, policy: LoadedPolicy, ranks: Ranks) -> RolloutEngine:
    rollout = params.rollout
    if ranks.count == 1 and params.train.lora is None:
        return build_engine(params, policy)
    dtype = getattr(torch, rollout.dtype)
    if rollout.engine == "vllm":
        adapters = served_adapters(params.train, rollout)
        return VLLMEngine(policy, rollout.slots, dtype, rollout.vllm, ranks=ranks.count, adapters=adapters)
    way = ranks.from_main(lambda: find_way(policy.model, policy.tokenizer.pad_token_id))
    return HFEngine(policy, rollout.slots, dtype, way=way, own=ranks.device)
