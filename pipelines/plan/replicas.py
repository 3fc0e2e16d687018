"""Bytes of a replica's own device: a process that samples, and does nothing else (`rollout.placement`)."""

from __future__ import annotations

from pipelines.plan.sampler import copy_of_weights, rows_of_engine
from pipelines.plan.sizes import FLOAT, Line, Moment, Sizes

STAGE = "pipelines/stage/sampler.py"
WHY = {
    "hf": "which samples, or whose shapes the weights arrive in",
    "vllm": "whose class and shapes vLLM takes",
}
"""Engine -> why a replica loads the model."""


def replica(sizes: Sizes, reserved: list[Line]) -> list[Moment]:
    """Moments of one replica; none where the ranks sample. `reserved` is what any process holds."""
    rollout = sizes.params.rollout
    if rollout.placement != "separate":
        return []
    whole = Line(
        "whole model, float32",
        FLOAT * sizes.plain,
        f"4 B x {sizes.plain:,}: " + WHY[rollout.engine],
        STAGE,
        "base.model",
    )
    # vLLM's engine has weights of its own, so that the model which started it is left without memory.
    kept = [whole] if rollout.engine == "hf" else []
    copies = [copy_of_weights(sizes)] if rollout.engine == "vllm" or rollout.dtype != "float32" else []
    received = Line(
        "a tensor that arrives",
        FLOAT * sizes.shape.head,
        f"4 B x {sizes.shape.head:,} of the largest",
        "hpt_core/rollout/replicas/channel.py",
    )
    rows = [rows_of_engine(sizes, rollout.replicas)] if rollout.engine == "hf" else []
    return [
        Moment("engine start", [whole, *copies, *reserved]),
        Moment("a push of weights", [*kept, *copies, received, *reserved]),
        Moment("sampling", [*kept, *copies, *rows, *reserved]),
    ]
