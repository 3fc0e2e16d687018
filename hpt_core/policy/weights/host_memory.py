"""Host memory that weights no longer need: pages of their file, and freed blocks that malloc keeps."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

LINUX = sys.platform.startswith("linux")
MADV_PAGEOUT = 21
"""madvise(2), Linux 5.4: the system may take the pages back, and their values stay."""


def page_out(tensors: Iterable[Tensor]) -> None:
    """Have the system take the pages of tensors that are mapped from a file, until they are read again.

    All tensors of a file are one mapping, which ends with the last of them. This is a hint, which other
    systems than Linux are not given.
    """
    if not LINUX:
        return
    madvise, mapped = ctypes.CDLL(None).madvise, _mapped_from_files()
    for tensor in tensors:
        # Whole pages alone: their neighbours may hold another tensor.
        first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        # Other memory would be written to swap, where there is some.
        if tensor.device.type == "cpu" and any(begin <= first < end <= until for begin, until in mapped):
            madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), MADV_PAGEOUT)


def _mapped_from_files() -> list[tuple[int, int]]:
    """First and last address of each mapping of a file (proc(5))."""
    lines = (line.split() for line in Path("/proc/self/maps").read_text().splitlines())
    ranges = (fields[0].split("-") for fields in lines if len(fields) > 5 and fields[5].startswith("/"))
    return [(int(begin, 16), int(until, 16)) for begin, until in ranges]


def return_freed() -> None:
    """Have malloc give the system what is free between blocks in use, after many tensors came and went."""
    if LINUX and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:  # glibc has it
        trim(0)
