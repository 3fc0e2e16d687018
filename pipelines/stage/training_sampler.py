"""The sampler of training: an engine in each rank, or replicas that the main rank talks to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from hpt_core.policy.model import LoadedPolicy
from hpt_core.protocols import RolloutEngine
from hpt_core.trainer.engine_of_main import EngineOfMain
from hpt_core.trainer.ranks import Ranks
from pipelines.params import Params
from pipelines.stage.sampler import build_engine, check_room, started_replicas


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
    check_room(params, policy)
    device, apart = policy.model.device, ranks.apart()
    main_s = started_replicas(params, base, device, first_gpu=ranks.count) if ranks.main else nullcontext()
    with main_s as replicas:
        yield EngineOfMain(replicas, apart)
