"""The plan of a run: memory, effort, and what does not fit."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.params import Params
from pipelines.plan.devices import Device
from pipelines.plan.effort import Effort, effort
from pipelines.plan.host import copied
from pipelines.plan.memory import moments as moments_of_rank
from pipelines.plan.memory import reserved
from pipelines.plan.replicas import replica
from pipelines.plan.sampler import cache_tokens
from pipelines.plan.shape import Shape, config_of, shape_of
from pipelines.plan.sizes import Line, Moment, Sizes


@dataclass(frozen=True)
class Plan:
    """What a run will need."""

    shape: Shape
    device: Device
    ranks: int
    moments: list[Moment]
    """Of a rank's device."""
    replicas: list[Moment]
    """Of a replica's own device; none where the ranks sample."""
    effort: Effort
    faults: list[str]
    """What does not fit, each with the key of params.yaml to change."""
    notes: list[str]

    @property
    def fits(self) -> bool:
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        """The same numbers as the table's: memory in bytes."""
        return {
            "model": asdict(self.shape),
            "device": asdict(self.device),
            "ranks": self.ranks,
            "memory": _as_json(self.moments),
            "memory_of_replica": _as_json(self.replicas),
            "effort": asdict(self.effort),
            "fits": self.fits,
            "faults": self.faults,
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Request:
    """What the command line adds to the parameters."""

    device: Device
    gpus: int | None = None
    """None: as many as the run uses."""
    price: float | None = None
    response: int | None = None
    measured: Path | None = None


def plan(params: Params, request: Request) -> Plan:
    """Raises InputError where the model's config.json cannot be read."""
    config = config_of(params.base)
    name = params.base.model or "built here (base.warm_start)"
    shape = shape_of(config, name, params.train.lora)
    sizes = Sizes(params, shape, request.device)
    moments, replicas = moments_of_rank(sizes, config), replica(sizes, reserved(sizes))
    used = gpus_used(params)
    gpus = request.gpus or used
    return Plan(
        shape,
        request.device,
        sizes.ranks,
        moments,
        replicas,
        effort(sizes, gpus, request.price, request.response, request.measured),
        [*_memory_faults(sizes, moments, replicas), *_faults(sizes, used, gpus)],
        _notes(sizes, used, gpus),
    )


def _as_json(moments: list[Moment]) -> dict[str, Any]:
    return {
        moment.name: {"bytes": moment.total, "lines": [asdict(line) for line in moment.lines]}
        for moment in moments
    }


def gpus_used(params: Params) -> int:
    """One for each rank, and one for each replica."""
    separate = params.rollout.placement == "separate"
    return params.train.ranks + (params.rollout.replicas if separate else 0)


def _memory_faults(sizes: Sizes, moments: list[Moment], replicas: list[Moment]) -> list[str]:
    """Moments that a device does not hold. Ranks and replicas share the memory of a machine without GPUs."""
    if not sizes.device.shared:
        found = [_fault(sizes, f"{moment.name}", moment.total, moment.lines) for moment in moments]
        of_replica = [
            _fault(sizes, f"a replica's {moment.name}", moment.total, moment.lines) for moment in replicas
        ]
        return [*filter(None, found), *filter(None, of_replica)]
    fullest = max(replicas, key=lambda moment: moment.total, default=Moment(""))
    beside = sizes.params.rollout.replicas * fullest.total
    faults = []
    for moment in moments:
        total = sizes.ranks * moment.total - (sizes.ranks - 1) * moment.of_main + beside
        faults.append(_fault(sizes, moment.name, total, [*moment.lines, *fullest.lines]))
    return [*filter(None, faults)]


def _fault(sizes: Sizes, name: str, total: float, lines: list[Line]) -> str | None:
    """What is too much, with the keys of the largest lines; None if it fits."""
    memory = sizes.device.memory
    if total <= memory:
        return None
    keys = dict.fromkeys(line.key for line in sorted(lines, key=lambda line: -line.amount) if line.key)
    return (
        f"{name}: {total / 2**30:.1f} GiB of {memory / 2**30:.1f}, {(total - memory) / 2**30:.1f} too many; "
        f"change {', '.join(list(keys)[:3])}"
    )


def _faults(sizes: Sizes, used: int, gpus: int) -> list[str]:
    device, shape, faults = sizes.device, sizes.shape, list[str]()
    if not device.shared and used > gpus:
        faults.append(f"train.ranks and rollout.replicas need {used} GPUs of {gpus}; lower train.ranks")
    if shape.positions is not None and sizes.longest > shape.positions:
        faults.append(
            f"a row may have {sizes.longest:,} tokens, and the model has {shape.positions:,} positions; "
            "lower rollout.max_new_tokens (experts.max_tokens), or give a model=FOLDER with more"
        )
    return [*faults, *_cache_faults(sizes)]


def _cache_faults(sizes: Sizes) -> list[str]:
    rollout = sizes.params.rollout
    if rollout.engine != "vllm":
        return []
    longest = rollout.max_prompt_tokens + rollout.max_new_tokens
    tokens = cache_tokens(sizes)
    if tokens >= longest:
        return []
    key = "rollout.vllm.cpu_cache_gib" if sizes.device.shared else "rollout.vllm.memory"
    return [f"vLLM's cache holds {max(0, tokens):,.0f} tokens, and a row may have {longest:,}; raise {key}"]


def _notes(sizes: Sizes, used: int, gpus: int) -> list[str]:
    rollout, notes = sizes.params.rollout, list[str]()
    if sizes.device.shared and sizes.writes_while_training and rollout.placement == "shared":
        more = copied(sizes).amount / 2**30
        notes.append(
            f"a checkpoint whose writing outlasts the next step's sampling adds {more:.2f} GiB, its copy, "
            "to that step's update"
        )
    if sizes.params.train.context_parallel > 1:
        notes.append("activations are of whole rows, of which train.context_parallel leaves a rank a part")
    if used < gpus:
        notes.append(f"{used} of {gpus} GPUs are used; train.ranks says how many")
    if rollout.engine == "vllm":
        longest = rollout.max_prompt_tokens + rollout.max_new_tokens
        rows = cache_tokens(sizes) / longest
        notes.append(
            f"vLLM's cache of an engine holds {rows:.1f} of the longest rows, of {rollout.slots} slots"
        )
    return notes
