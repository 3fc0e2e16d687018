"""Host memory that weights no longer need: pages of their file, and freed blocks that malloc keeps."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable

from torch import Tensor

LINUX = sys.platform.startswith("linux")
MADV_PAGEOUT = 21
"""madvise(2), Linux 5.4: the system may take the pages back, and their values stay."""


def page_out(tensors: Iterable[Tensor]) -> None:
    """Have the system take the pages of tensors that are no longer needed, where they are mapped from a file.

    All tensors of a file are one mapping, which ends with the last of them. Pages that are accessed again are
    read again; so this is a hint, which other systems than Linux, and devices, are not given.
    """
    if not LINUX:
        return
    madvise = ctypes.CDLL(None).madvise
    for tensor in tensors:
        if tensor.device.type == "cpu":
            # Whole pages alone: their neighbours may hold another tensor.
            first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
            end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
            if end > first:
                madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), MADV_PAGEOUT)


def return_freed() -> None:
    """Have malloc give the system what is free between blocks in use, after many tensors came and went."""
    if LINUX and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:  # glibc has it
        trim(0)
