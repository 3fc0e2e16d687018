"""Bytes of one device, line by line, at the moments at which a run may exceed it.

Each line is a formula over the policy's shape, and names the code that it describes. tests/unit/plan compares
the sums with torch's tracker of FSDP2's memory, and those of a CPU with resident memory.
"""

from __future__ import annotations

from transformers import PretrainedConfig

from hpt_core.rollout.engine_check import LONGEST_PROMPT, NEW_TOKENS
from pipelines.plan import host, offload
from pipelines.plan.passes import passes
from pipelines.plan.sampler import sampler
from pipelines.plan.shape import Shape
from pipelines.plan.sizes import FLOAT, Line, Moment, Sizes, weights

RESERVED = 0.08
"""Share of a GPU's memory for CUDA's context, NCCL's buffers and gaps of the allocator. An allowance, which
was not measured with several GPUs."""


def weights_at_start(shape: Shape, ranks: int) -> Line:
    """Weights on a rank's device: all of one rank's, or the shards and the unit that is sent last."""
    if ranks == 1:
        return Line(
            "whole model, float32",
            FLOAT * shape.parameters,
            f"4 B x {shape.parameters:,} weights",
            "hpt_core/policy/loading/checked.py",
            "base.model",
        )
    unit = max(shape.root, shape.layer)
    return Line(
        "weights, float32, as they are sharded",
        FLOAT * (shape.parameters / ranks + unit),
        f"4 B x ({shape.parameters:,} / {ranks} ranks + {unit:,} of the largest unit)",
        "hpt_core/trainer/sharding.py",
        "train.ranks",
    )


def moments(sizes: Sizes, config: PretrainedConfig) -> list[Moment]:
    """Those of a rank. Where the processors train, host memory has its own."""
    found = [start(sizes), push(sizes), sampling(sizes), update(sizes, config)]
    if sizes.device.shared:
        if sizes.params.rollout.placement == "separate" and sizes.writes_while_training:
            found[-1].lines.append(host.copied(sizes))  # An update follows at once.
        found += [host.checkpoint(sizes, _steady(sizes)), *host.saving(sizes)]
    return found


def start(sizes: Sizes) -> Moment:
    """The sampler is built, and the model is loaded or, among ranks, sent to them (pipelines/train.py)."""
    if sizes.device.shared:
        return host.loading(sizes)
    weights = weights_at_start(sizes.shape, sizes.ranks)
    lines = [weights, *_reference(sizes), *sampler(sizes, cache=False), *reserved(sizes)]
    return Moment("engine start", lines)


def push(sizes: Sizes) -> Moment:
    """The sampler takes the weights, tensor by tensor, and is compared with a plain forward pass."""
    shape, rollout = sizes.shape, sizes.params.rollout
    tokens = min(rollout.max_prompt_tokens, LONGEST_PROMPT) + min(rollout.max_new_tokens, NEW_TOKENS)
    lines = [
        Line(
            "logits of the engine's check",
            FLOAT * tokens * shape.vocabulary,
            f"4 B x {tokens:,} tokens x {shape.vocabulary:,}",
            "hpt_core/rollout/engine_check.py",
        )
    ]
    if sizes.ranks > 1:
        times = host.GLOO if sizes.device.shared else 1
        how = f"4 B x {shape.root:,}" + (", and gloo's buffer of that size" if sizes.device.shared else "")
        source = "hpt_core/trainer/sharding.py"
        lines.append(Line("what belongs to no layer, gathered", times * FLOAT * shape.root, how, source))
    held = sampler(sizes, cache=rollout.engine == "vllm")
    return Moment("a push of weights", [*_steady(sizes), *held, *lines, *reserved(sizes)])


def sampling(sizes: Sizes) -> Moment:
    """A step's rollouts are drawn; gradients are not there."""
    return Moment("sampling", [*_steady(sizes), *sampler(sizes, cache=True), *reserved(sizes)])


def update(sizes: Sizes, config: PretrainedConfig) -> Moment:
    """The fullest moment of an update; vLLM sleeps on a GPU, and the engine hf keeps its copy."""
    asleep = sizes.params.rollout.engine == "vllm" and not sizes.device.shared
    held = [] if asleep else sampler(sizes, cache=sizes.params.rollout.engine == "vllm")
    shape, ranks = sizes.shape, sizes.ranks
    gradients = Line(
        "gradients, float32" + (", a shard" if ranks > 1 else ""),
        FLOAT * shape.trained / ranks,
        f"4 B x {shape.trained:,} trained / {ranks} ranks",
        "hpt_core/trainer/sharding.py",
        "train.ranks",
    )
    when, working = passes(sizes, config)
    return Moment(f"update, at {when}", [*_steady(sizes), gradients, *held, *working, *reserved(sizes)])


def _steady(sizes: Sizes) -> list[Line]:
    """Weights and moments, which stay from the first step on."""
    return [weights(sizes), offload.moments(sizes), *_reference(sizes)]


def _reference(sizes: Sizes) -> list[Line]:
    if not sizes.has_reference:
        return []
    amount, formula = FLOAT * sizes.shape.parameters / sizes.ranks, f"4 B x weights / {sizes.ranks} ranks"
    source = "hpt_core/trainer/reference_policy.py"
    return [Line("KL's reference", amount, formula, source, "train.kl.coefficient")]


def reserved(sizes: Sizes) -> list[Line]:
    if sizes.device.shared:
        return [host.libraries()]
    return [
        Line(
            "CUDA context, NCCL, gaps",
            RESERVED * sizes.device.memory,
            f"{RESERVED:.0%} of the device, an allowance",
            "pipelines/plan/memory.py",
        )
    ]
