"""Pages of a weights' file are given back tensor by tensor and keep their values; so is freed memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hpt_core.policy.weights.host_memory import page_out

MIB = 2**20


def resident(tensor: torch.Tensor) -> int:
    """Bytes in memory of the mapping that the tensor is in (proc(5))."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *values = line.split()
        if "-" in name and not name.endswith(":"):
            first, end = (int(part, 16) for part in name.split("-"))
            inside = first <= tensor.data_ptr() < end
        elif inside and name == "Rss:":
            return 1024 * int(values[0])
    raise AssertionError("no such mapping")


def test_pages_of_one_tensor_go_and_values_stay(tmp_path: Path) -> None:
    expected = {name: torch.randn(MIB) for name in ("first", "second")}
    save_file(expected, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in expected}
    assert all(torch.equal(tensors[name], whole) for name, whole in expected.items())
    before = resident(tensors["first"])
    assert before >= 8 * MIB, "both are mapped from the file"
    page_out([tensors["first"], torch.empty(0), torch.empty(3, device="meta")])
    assert resident(tensors["first"]) <= before - 4 * MIB + 2 * 4096
    assert all(torch.equal(tensors[name], whole) for name, whole in expected.items())
    assert resident(tensors["first"]) == before


def test_memory_between_blocks_in_use_is_returned() -> None:
    code = """
import torch
from pathlib import Path
from hpt_core.policy.weights.host_memory import return_freed

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

blocks = [torch.ones(2**18) for _ in range(256)]  # 1 MiB each
del blocks[:-1]
before = resident()
return_freed()
print(before - resident())
"""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**21)}
    returned = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert int(returned.stdout) > 200 * MIB
