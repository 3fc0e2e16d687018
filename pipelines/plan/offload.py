"""The optimizer's moments: on the device, or in host memory (train.offload) and on their way."""

from __future__ import annotations

from pipelines.plan.sizes import FLOAT, Line, Sizes

KEY, SOURCE = "train.offload", "hpt_core/policy/host_moments.py"


def moments(sizes: Sizes) -> Line:
    """Bytes of a rank's device."""
    shape, name, ranks = sizes.shape, sizes.params.train.optimizer.name, sizes.ranks
    if sizes.offloaded:
        return Line(
            f"{name}'s moments, of one tensor at a time",
            2 * FLOAT * shape.largest / ranks,
            f"8 B x {shape.largest:,} of the largest / {ranks} ranks, in the step alone",
            SOURCE,
            "train.ranks",
        )
    each = "4 B (matrices) or 8 B" if name == "muon" else "8 B"
    return Line(
        f"{name}'s moments",
        FLOAT * sizes.moments / ranks,
        f"{each} x {shape.trained:,} trained / {ranks} ranks",
        "hpt_core/policy/optimizers.py",
        "train.ranks" if sizes.device.shared else KEY,
    )


def traffic(sizes: Sizes) -> list[Line]:
    """Bytes in host memory, and on the way to and from it; none without offload."""
    if not sizes.offloaded:
        return []
    size = FLOAT * sizes.moments
    return [
        Line(
            "B of host memory for moments",
            size,
            "of all ranks; at most twice that, since torch rounds locked memory up to a power of two",
            SOURCE,
            KEY,
        ),
        Line("B between host and devices, each update", 2 * size, "all moments there and back", SOURCE, KEY),
    ]
