"""The C library by ctypes, with one place that turns a failure into OSError.

Every wrapper in `tiffin.linux` is made by `function` or `syscall`. Imports next to nothing: the forkserver loads this.
"""

import ctypes
import errno
import os
from collections.abc import Callable

libc = ctypes.CDLL(None, use_errno=True)
_MACHINE = os.uname().machine
# Numbers from 424 on are the same everywhere; these are older. (asm/unistd.h, asm-generic/unistd.h)
NUMBERS: dict[str, int] = (
    {"seccomp": 277, "keyctl": 219, "sched_setattr": 274, "ioprio_set": 30, "set_mempolicy": 237, "bpf": 280}
    | {"rt_sigaction": 134, "set_tid_address": 96}
    if _MACHINE in ("aarch64", "riscv64", "loongarch64")
    else {"seccomp": 317, "keyctl": 250, "sched_setattr": 314, "ioprio_set": 251, "set_mempolicy": 238, "bpf": 321}
    | {"rt_sigaction": 13, "set_tid_address": 218}
)
NUMBERS |= {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "faccessat2": 439,
    "mount_setattr": 442,
}

INT = ctypes.c_int
UINT = ctypes.c_uint
LONG = ctypes.c_long
ULONG = ctypes.c_ulong
SIZE = ctypes.c_size_t
TEXT = ctypes.c_char_p
POINTER = ctypes.c_void_p


def failure(path: bytes | str | None = None) -> OSError:
    """The OSError for errno as the last call left it."""
    error = ctypes.get_errno()
    return OSError(error, os.strerror(error), path) if path is not None else OSError(error, os.strerror(error))


def function(name: str, *types: object) -> Callable[..., int]:
    """A checked function of the C library that returns -1 on error."""
    raw = getattr(libc, name)
    raw.argtypes = types
    raw.restype = INT
    return _checked(raw)


def syscall(name: str, *types: object) -> Callable[..., int]:
    """A checked system call by number, for those the C library does not (yet) wrap."""
    # A prototype of its own for each: through the variadic default, ints would be cut to 32 bits.
    prototype = ctypes.CFUNCTYPE(LONG, LONG, *types, use_errno=True)  # type: ignore[arg-type]
    raw = prototype(("syscall", libc))
    return _checked(raw, NUMBERS[name])


def _checked(raw: Callable[..., int], *number: int) -> Callable[..., int]:
    """raw with its errors raised; a signal does not end a call, as with Python's own (PEP 475)."""

    def call(*arguments: object, path: bytes | str | None = None) -> int:
        while (result := raw(*number, *arguments)) < 0:
            if ctypes.get_errno() != errno.EINTR:
                raise failure(path)
        return result

    return call
