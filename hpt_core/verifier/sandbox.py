"""Grading processes have no network and write no file, where the system allows to forbid it.

Answers are written by models, and by strangers where demonstrations come from them. A fault in a parser must
not become a way out of the machine. A process gives up, for itself and all that it starts:

    writing, creating and removing files    Landlock (Linux 5.13), but for /dev/null
    sockets of every family, and new ways around system calls (io_uring)    a seccomp filter
    TCP, abstract sockets and signals to other processes    Landlock (Linux 6.7 and 6.12), a second lock
    reading the memory and the environment of other processes    Landlock, the filter, no capabilities

Reading files stays allowed. It cannot be undone by the process, and takes a millisecond.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from functools import lru_cache
from typing import Final

_SET_NO_NEW_PRIVS, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_CAPABILITIES, _READING = 0x20080522, 0b110  # the version of the interface; CAP_DAC_OVERRIDE, _READ_SEARCH
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1

_WRITE_FILE = 1 << 1
_WRITES: Final = {
    1: _WRITE_FILE | sum(1 << bit for bit in range(4, 13)),  # remove and make directories, files, links, ...
    2: 1 << 13,  # link or rename into another folder
    3: 1 << 14,  # truncate
    5: 1 << 15,  # ioctl on devices
}
"""ABI of Landlock -> rights to change files that it can take away (linux/landlock.h)."""
_TCP_ABI, _TCP = 4, 0b11  # bind, connect
_SCOPE_ABI, _SCOPED = 6, 0b11  # abstract UNIX sockets, signals

_CALLS: Final = {
    # name: (number on x86-64, number on aarch64); None where there is no such call
    "socket": (41, 198),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "io_uring_setup": (425, 425),
    "mount": (165, 40),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # What Landlock does not count as writing: permissions, owners, times and attributes of files.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
}
"""System calls that fail in a grading process."""
_ARCHITECTURES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine -> its column of `_CALLS`, and its number in seccomp."""
_X32: Final = 0x40000000
"""Bit of the system calls of x86-64's 32-bit mode, which have other numbers."""


def missing() -> list[str]:
    """What this system cannot forbid to a grading process; empty where it can forbid all."""
    found = []
    if _landlock_abi() == 0:
        found.append("writing files" if sys.platform == "linux" else "writing empty files")
    if not _has_seccomp():
        found.append("the network")
    return found


def confine() -> None:
    """Give up network and writing for this process, for good. What `missing` names stays allowed.

    Raises OSError where the system refuses what it offers; a process must then grade nothing.
    """
    abi, filtered = _landlock_abi(), _has_seccomp()
    if abi == 0:
        # No byte can be written to any file, though one may be created or removed.
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    if abi or filtered:
        _call(_libc().prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _drop_capabilities()
    if abi:
        _restrict_files(abi)
    if filtered:
        _filter_system_calls()


def _drop_capabilities() -> None:
    """Keep of root's capabilities only those to read: with others, root reads the memory of any process."""
    libc = _libc()
    header = struct.pack("=Ii", _CAPABILITIES, 0)
    sets = ctypes.create_string_buffer(24)  # effective, permitted, inheritable; twice 32 bits of each
    _call(libc.capget(header, sets))
    kept = [
        value & mask for value, mask in zip(struct.unpack("=6I", sets), [_READING] * 3 + [0] * 3, strict=True)
    ]
    _call(libc.capset(header, struct.pack("=6I", *kept)))


def _restrict_files(abi: int) -> None:
    libc = _libc()
    writes = sum(rights for since, rights in _WRITES.items() if since <= abi)
    fields = [writes, _TCP if abi >= _TCP_ABI else 0, _SCOPED if abi >= _SCOPE_ABI else 0]
    attributes = struct.pack("=3Q", *fields)[: 24 if abi >= _SCOPE_ABI else 16 if abi >= _TCP_ABI else 8]
    rules = _call(libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    null = os.open(os.devnull, os.O_PATH)
    _call(libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", _WRITE_FILE, null), 0))
    _call(libc.syscall(_RESTRICT_SELF, rules, 0))
    os.close(null)
    os.close(rules)


def _filter_system_calls() -> None:
    """Forbidden calls fail with EACCES, as a refused file does, so that an error is reported as any other."""
    machine = platform.machine()
    column, architecture = _ARCHITECTURES[machine]
    numbers = [number for call in _CALLS.values() if (number := call[column]) is not None]
    load, equal, at_least, end = 0x20, 0x15, 0x35, 0x06  # BPF: ld abs; jeq; jge; ret
    allow, refuse = 0x7FFF0000, 0x00050000 | errno.EACCES
    checks = [(equal, number) for number in numbers] + ([(at_least, _X32)] if machine == "x86_64" else [])
    # Where a check is true, the program jumps to its last instruction.
    program = [(load, 0, 0, 4), (equal, 0, len(checks) + 2, architecture), (load, 0, 0, 0)]
    program += [(code, len(checks) - i, 0, value) for i, (code, value) in enumerate(checks)]
    program += [(end, 0, 0, allow), (end, 0, 0, refuse)]
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    header = struct.pack("@HP", len(program), ctypes.addressof(instructions))
    _call(_libc().prctl(_SET_SECCOMP, _MODE_FILTER, header, 0, 0))


@lru_cache(maxsize=1)
def _landlock_abi() -> int:
    """The version of Landlock's interface; 0 without it."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, 0, _VERSION)))


@lru_cache(maxsize=1)
def _has_seccomp() -> bool:
    if sys.platform != "linux" or platform.machine() not in _ARCHITECTURES or sys.maxsize < 2**32:
        return False
    # Without a program the call fails: with EFAULT where filters exist.
    _libc().prctl(_SET_SECCOMP, _MODE_FILTER, None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _call(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"the sandbox of a grading process: {os.strerror(code)}")
    return result
