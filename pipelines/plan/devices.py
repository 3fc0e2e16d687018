"""Devices that a plan can be made for, by the numbers of their makers' data sheets."""

from __future__ import annotations

import os
from dataclasses import dataclass

from hpt_core.errors import InputError


@dataclass(frozen=True)
class Device:
    """One accelerator, or the processors of this machine."""

    name: str
    memory: float
    """Bytes. A data sheet's gigabyte is 10^9 bytes, a little less than what the driver offers."""
    bfloat16: float
    """Dense matrix products, FLOP/s."""
    float32: float
    """FLOP/s without TF32, which torch leaves off."""
    bandwidth: float
    """Of the device's memory, bytes per second."""
    source: str
    efficiency: float
    """Share of the peak that forward and backward passes reach."""
    shared: bool = False
    """All ranks share its memory and its arithmetic."""

    def peak(self, dtype: str) -> float:
        """FLOP/s in this arithmetic: "bfloat16" or "float32"."""
        return self.bfloat16 if dtype == "bfloat16" else self.float32


MEASURED = 339 / 989
"""Share of the peak that an H200 reached in bfloat16, with one rank, 8 x 2,048 tokens and the shape of
Qwen2.5-1.5B: 339 TFLOP/s by `python -m tests.bench arithmetic` (docs/scale.md, "Measured"). Other devices,
several ranks and float32 were not measured, and the plan assumes the same share."""


def _gpu(name: str, memory: float, bfloat16: float, float32: float, bandwidth: float, sheet: str) -> Device:
    return Device(
        name, memory * 1e9, bfloat16 * 1e12, float32 * 1e12, bandwidth * 1e12, f"NVIDIA {sheet}", MEASURED
    )


DEVICES = {
    device.name: device
    for device in (
        _gpu("h100-80g", 80, 989, 67, 3.35, "H100 SXM data sheet"),
        _gpu("h200-141g", 141, 989, 67, 4.8, "H200 SXM data sheet"),
        _gpu("a100-80g", 80, 312, 19.5, 2.039, "A100 80GB SXM data sheet"),
        _gpu("a100-40g", 40, 312, 19.5, 1.555, "A100 40GB SXM data sheet"),
        _gpu("l40s-48g", 48, 362, 91.6, 0.864, "L40S data sheet"),
    )
}


def device(name: str) -> Device:
    """The device of this name. Raises InputError, with all names, for another one."""
    if name == "cpu":
        return _this_machine()
    if name not in DEVICES:
        raise InputError(f"--device {name}: not known; choose one of cpu, {', '.join(DEVICES)}")
    return DEVICES[name]


def _this_machine() -> Device:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # docs/scale.md: 218 of 389 GFLOP/s on two cores. Reads of memory were not measured; 10 GB/s is slow.
    source = "two cores of docs/scale.md, the memory of this machine"
    return Device("cpu", memory, 389e9, 389e9, 10e9, source, 218 / 389, shared=True)
