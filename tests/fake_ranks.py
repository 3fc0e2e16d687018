"""A process group of several ranks in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore


@contextmanager
def sharded_by_a_mesh() -> Iterator[Any]:
    """A mesh of two GPUs in a process group that sends nothing."""
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        yield init_device_mesh("cuda", (2,))
    finally:
        torch.distributed.destroy_process_group()
