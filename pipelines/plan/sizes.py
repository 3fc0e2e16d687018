"""Lines of a plan, and the sizes that their formulas read."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.params import Params
from pipelines.plan.devices import Device
from pipelines.plan.shape import Shape

FLOAT, HALF = 4, 2


@dataclass(frozen=True)
class Line:
    """One term of a sum."""

    what: str
    amount: float
    formula: str
    source: str
    key: str = ""
    """Key of params.yaml that changes it most."""


@dataclass(frozen=True)
class Moment:
    """What is in a device's memory at one time."""

    name: str
    lines: list[Line] = field(default_factory=list)
    of_main: float = 0.0
    """Bytes that the main rank alone holds."""

    @property
    def total(self) -> float:
        return sum(line.amount for line in self.lines)


def dtype_bytes(dtype: str) -> int:
    return HALF if dtype == "bfloat16" else FLOAT


@dataclass(frozen=True)
class Sizes:
    """What the formulas read of the parameters."""

    params: Params
    shape: Shape
    device: Device

    @property
    def ranks(self) -> int:
        return self.params.train.ranks

    @property
    def plain(self) -> int:
        """Weights of the model without adapters."""
        return self.shape.parameters - (self.shape.trained if self.params.train.lora else 0)

    @property
    def writes_while_training(self) -> bool:
        """Whether a step follows a checkpoint, which is then still being written."""
        return self.params.train.steps > self.params.train.checkpoint_every

    @property
    def gathered(self) -> int:
        """Bytes of a weight while its layer computes: that of train.gathered_dtype among ranks."""
        return dtype_bytes(self.params.train.gathered_dtype) if self.ranks > 1 else FLOAT

    @property
    def has_reference(self) -> bool:
        """Whether a KL needs a copy of the starting policy; under adapters their base weights are one."""
        train = self.params.train
        return train.lora is None and any(phase.kl.coefficient for phase in train.per_phase)

    @property
    def longest(self) -> int:
        """Tokens of the longest row: a prompt with a response, or with a demonstration."""
        params = self.params
        responses = [params.rollout.max_new_tokens]
        if params.train.uses_demonstrations:
            responses.append(params.experts.max_tokens)
        return params.rollout.max_prompt_tokens + max(responses)

    @property
    def sequences(self) -> int:
        """Sequences of a forward pass, of `longest` tokens each (hpt_core/policy/batching.py)."""
        return max(1, self.params.train.microbatch_tokens // self.longest)

    @property
    def tokens(self) -> int:
        return self.sequences * self.longest

    @property
    def offloaded(self) -> bool:
        """Whether the optimizer's moments are in other memory than the device's."""
        return self.params.train.offload == "optimizer" and not self.device.shared

    @property
    def moments(self) -> int:
        """Numbers that the optimizer keeps: two for a weight with AdamW, one with Muon."""
        muon = self.params.train.optimizer.name == "muon"
        return 2 * self.shape.trained - (self.shape.matrices if muon else 0)


def weights(sizes: Sizes) -> Line:
    """The policy's weights on a rank."""
    parameters, ranks = sizes.shape.parameters, sizes.ranks
    return Line(
        "weights, float32" + (", a shard" if ranks > 1 else ""),
        FLOAT * parameters / ranks,
        f"4 B x {parameters:,} / {ranks} ranks",
        "hpt_core/trainer/sharding.py",
        "train.ranks",
    )
