"""The plan of a run: memory, effort, and what does not fit."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.params import Params
from pipelines.plan.devices import Device
from pipelines.plan.effort import Effort, effort
from pipelines.plan.memory import sampling, start, update
from pipelines.plan.sampler import cache_tokens
from pipelines.plan.shape import Shape, config_of, shape_of
from pipelines.plan.sizes import Moment, Sizes


@dataclass(frozen=True)
class Plan:
    """What a run will need."""

    shape: Shape
    device: Device
    ranks: int
    moments: list[Moment]
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
            "memory": {
                moment.name: {"bytes": moment.total, "lines": [asdict(line) for line in moment.lines]}
                for moment in self.moments
            },
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
    moments = [start(sizes), sampling(sizes), update(sizes, config)]
    used = gpus_used(params)
    gpus = request.gpus or used
    return Plan(
        shape,
        request.device,
        sizes.ranks,
        moments,
        effort(sizes, gpus, request.price, request.response, request.measured),
        _faults(sizes, moments, used, gpus),
        _notes(sizes, used, gpus),
    )


def gpus_used(params: Params) -> int:
    """One for each rank, and one for each replica."""
    separate = params.rollout.placement == "separate"
    return params.train.ranks + (params.rollout.replicas if separate else 0)


def _faults(sizes: Sizes, moments: list[Moment], used: int, gpus: int) -> list[str]:
    device, shape = sizes.device, sizes.shape
    processes = sizes.ranks if device.shared else 1
    faults = []
    for moment in moments:
        over = moment.total * processes - device.memory
        if over > 0:
            keys = dict.fromkeys(
                line.key for line in sorted(moment.lines, key=lambda line: -line.amount) if line.key
            )
            faults.append(
                f"{moment.name}: {moment.total * processes / 2**30:.1f} GiB of {device.memory / 2**30:.1f}, "
                f"{over / 2**30:.1f} too many; change {', '.join(list(keys)[:3])}"
            )
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
    rollout, notes = sizes.params.rollout, []
    if rollout.placement == "separate":
        notes.append("the replicas' own GPUs hold the sampler alone, and are not a part of this plan")
    if used < gpus:
        notes.append(f"{used} of {gpus} GPUs are used; train.ranks says how many")
    if rollout.engine == "vllm":
        longest = rollout.max_prompt_tokens + rollout.max_new_tokens
        rows = cache_tokens(sizes) / longest
        notes.append(
            f"vLLM's cache of an engine holds {rows:.1f} of the longest rows, of {rollout.slots} slots"
        )
    return notes
