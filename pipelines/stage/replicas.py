"""The sampler of training: an engine in each rank, or replicas in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hpt_core.config import RolloutConfig
from hpt_core.policy.model import LoadedPolicy, load_policy
from hpt_core.protocols import RolloutEngine
from hpt_core.rollout.replicas.engine import Replicas
from hpt_core.trainer.engine_of_main import EngineOfMain
from hpt_core.trainer.ranks import Ranks
from pipelines.params import Params
from pipelines.stage.generation import build_engine, start_engine


@contextmanager
def training_engine(
    params: Params, policy: LoadedPolicy, base: Path, ranks: Ranks
) -> Iterator[RolloutEngine]:
    """The sampler with the weights of `policy`, which was loaded from `base`; replicas end with the block.

    Raises InputError as `build_engine` does, and where a replica has no GPU of its own.
    """
    if params.rollout.placement == "shared":
        changes = ranks.count > 1 or params.train.lora is not None
        yield build_engine(params, policy, copies=changes, ranks=ranks.count)
        return
    build = partial(_replica, params.rollout, base.resolve())
    device, apart = policy.model.device, ranks.apart()
    replicas = None
    if ranks.main:
        replicas = Replicas(build, params.rollout.replicas, params.threads, device, first_gpu=ranks.count)
    try:
        yield replicas if replicas is not None and ranks.count == 1 else EngineOfMain(replicas, apart)
    finally:
        if replicas is not None:
            replicas.close()


def _replica(config: RolloutConfig, base: Path) -> tuple[RolloutEngine, LoadedPolicy]:
    """Built in the process of a replica."""
    policy = load_policy(base)
    engine = start_engine(config, policy)
    if config.engine == "vllm":  # which has a copy of its own, so that only names and shapes are needed here
        policy.model.to("meta")  # type: ignore[arg-type]
    return engine, policy
