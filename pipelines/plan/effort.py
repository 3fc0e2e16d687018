"""Tokens, seconds, traffic and cost of a run, from the parameters, the policy's shape and a device."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from hpt_core.errors import InputError
from hpt_core.files import read_text
from pipelines.plan import offload
from pipelines.plan.sampler import asleep
from pipelines.plan.sizes import FLOAT, Line, Sizes, dtype_bytes

LAUNCH = 256 / 11_200 / 28
"""Seconds of a layer and a token with the engine hf on a GPU, which the launch of kernels bounds: an H200
gave 11,200 tokens/s for 256 rows and 28 layers (docs/scale.md, "Measured")."""
PHASES = ("generate", "verify", "compare", "update", "push")
"""Parts of every step, by the names of `seconds/*`."""


@dataclass(frozen=True)
class Effort:
    """What a step and a run need beside memory."""

    lines: list[Line]
    """Tokens, seconds or bytes; `what` names the unit."""
    step_seconds: float
    hours: float
    gpus: int
    cost: float | None
    """In the currency of the price; None without one."""
    measured: str
    """The file that the seconds come from; empty for an estimate."""


def effort(
    sizes: Sizes,
    gpus: int,
    price: float | None = None,
    response: int | None = None,
    measured: Path | None = None,
) -> Effort:
    """The estimate, or the medians of `measured`: a log of steps (logs/steps/ARM.jsonl).

    response: mean length of a response, in tokens; None: the longest one, an upper bound.

    Raises InputError for a file without seconds of phases.
    """
    tokens, seconds = _tokens(sizes, response), _seconds(sizes, response)
    if measured is not None:
        found = read_phases(measured)
        seconds = [
            Line(f"s {name}", spent, f"median of seconds/{name}", str(measured))
            for name, spent in found.items()
        ]
    step = sum(line.amount for line in seconds)
    train = sizes.params.train
    hours = train.steps * step / 3600
    return Effort(
        lines=[*tokens, *seconds, *_traffic(sizes)],
        step_seconds=step,
        hours=hours,
        gpus=gpus,
        cost=None if price is None else price * gpus * hours,
        measured="" if measured is None else str(measured),
    )


def read_phases(file: Path) -> dict[str, float]:
    """Phase -> median seconds over the steps of a log that have it. Raises InputError."""
    remedy = "give logs/steps/ARM.jsonl of a run, which has seconds/* of every step"
    rows = []
    for number, line in enumerate(read_text(file, f"--measured: {remedy}").splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise InputError(f"--measured {file}:{number}: no JSON ({error}); {remedy}") from error
    phases = {name: [row[f"seconds/{name}"] for row in rows if f"seconds/{name}" in row] for name in PHASES}
    found = {name: float(median(spent)) for name, spent in phases.items() if spent}
    if "update" not in found:
        raise InputError(f"--measured {file}: no seconds/update; {remedy}")
    return found


def _tokens(sizes: Sizes, response: int | None) -> list[Line]:
    rollout, train = sizes.params.rollout, sizes.params.train
    length = response or rollout.max_new_tokens
    rows = train.prompts_per_step * rollout.group_size
    bound = "" if response else ", an upper bound"
    return [
        Line(
            "tokens sampled per step",
            rows * length,
            f"{train.prompts_per_step} prompts x {rollout.group_size} x {length:,}{bound}",
            "params.yaml",
            "rollout.max_new_tokens",
        ),
        Line(
            "tokens through the trainer per step",
            rows * (rollout.max_prompt_tokens + length),
            f"{rows:,} rows x ({rollout.max_prompt_tokens:,} + {length:,}); equal rewards take none",
            "hpt_core/trainer/step.py",
            "train.prompts_per_step",
        ),
        Line(
            "tokens sampled per run",
            train.steps * rows * length,
            f"{train.steps} steps",
            "params.yaml",
            "train.steps",
        ),
    ]


def _seconds(sizes: Sizes, response: int | None) -> list[Line]:
    shape, train, rollout, device = sizes.shape, sizes.params.train, sizes.params.rollout, sizes.device
    length = response or rollout.max_new_tokens
    rows, row = train.prompts_per_step * rollout.group_size, rollout.max_prompt_tokens + length
    # As hpt_core.trainer.measures.throughput.flops counts, with which the efficiency was measured.
    passes = rows * (6.0 * shape.products * row + 6.0 * shape.layers * shape.width * row**2)
    recomputed = 4 / 3 if train.gradient_checkpointing else 1.0
    ranks = 1 if device.shared else sizes.ranks
    rate = device.peak(train.autocast) * device.efficiency * ranks
    again = ", x 4/3 recomputed" if recomputed > 1 else ""
    return [
        _decoding(sizes, length),
        Line(
            "s update, an estimate",
            recomputed * passes / rate,
            f"{passes / 1e15:,.3g} PFLOP{again} / {rate / 1e12:,.3g} TFLOP/s "
            f"({device.efficiency:.0%} of peak, x {ranks})",
            "throughput.flops; docs/scale.md",
            "train.ranks",
        ),
    ]


def _decoding(sizes: Sizes, length: int) -> Line:
    shape, train, rollout, device = sizes.shape, sizes.params.train, sizes.params.rollout, sizes.device
    size = dtype_bytes(rollout.dtype)
    separate = rollout.placement == "separate"
    together = rollout.vllm.tensor_parallel if rollout.engine == "vllm" and not separate else 1
    engines = rollout.replicas if separate else sizes.ranks // together
    rows = -(-train.prompts_per_step // engines) * rollout.group_size
    slots = min(rollout.slots, rows)
    context = rollout.max_prompt_tokens + length / 2
    read = (size * shape.parameters + size * shape.cached * slots * context) / together
    of_token = read / device.bandwidth * (engines if device.shared else 1)
    bound = f"{read / 1e9:,.3g} GB read / {device.bandwidth / 1e12:.3g} TB/s"
    if rollout.engine == "hf" and not device.shared and (launch := LAUNCH * shape.layers) > of_token:
        of_token, bound = launch, f"{launch * 1e3:.3g} ms of launches (H200)"
    waves = -(-rows // slots)
    return Line(
        "s generate, at least",
        waves * length * of_token,
        f"{waves} x {length:,} tokens x {bound}",
        "hpt_core/rollout/engines; not measured with vLLM on a GPU",
        "rollout.slots",
    )


def _traffic(sizes: Sizes) -> list[Line]:
    shape, train, rollout = sizes.shape, sizes.params.train, sizes.params.rollout
    plain = shape.parameters - (shape.trained if train.lora else 0)
    copies = rollout.replicas if rollout.placement == "separate" else 1
    checkpoint = FLOAT * (shape.trained + sizes.moments)
    count = -(-train.steps // train.checkpoint_every)
    served = rollout.vllm.lora  # the base is gathered once
    return [
        Line(
            "B gathered for a push, each step",
            FLOAT * (shape.trained if served else plain),
            f"4 B x {'adapters' if served else 'weights'}, small ones together"
            + (f"; to {copies} replica(s)" if copies > 1 else ""),
            "hpt_core/policy/weights/hashed.py",
        ),
        *asleep(sizes),
        Line(
            "B of a checkpoint",
            checkpoint,
            "4 B x (trained weights and moments); each rank copies its part to host memory",
            "hpt_core/trainer/checkpoint.py",
        ),
        Line(
            "B of checkpoints, whole run",
            count * checkpoint,
            f"{count} checkpoints; the newest stays",
            "hpt_core/trainer/checkpoint.py",
            "train.checkpoint_every",
        ),
        Line(
            "B of host memory, loading and saving",
            (2 if sizes.has_reference else 1) * FLOAT * plain,
            "4 B x weights, of the main rank alone, on their way to devices or disk"
            + ("; twice with KL's reference at first" if sizes.has_reference else ""),
            "hpt_core/policy/model.py",
        ),
        *offload.traffic(sizes),
    ]
