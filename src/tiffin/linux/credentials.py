"""What a process may do: capabilities, prctl(2), seccomp(2), labels, scheduling. Raises OSError.

capset and the setuid family change the calling thread only: call them single-threaded.
"""

import ctypes
import struct

from tiffin.linux.syscalls import INT, LONG, POINTER, SIZE, TEXT, UINT, ULONG, function, libc, syscall

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_CAPBSET_READ, PR_CAPBSET_DROP = 1, 4, 8, 23, 24
PR_SET_NAME, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 15, 36, 38, 47
_PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 2, 4
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
_CAPABILITY_VERSION_3 = 0x20080522
_KEYCTL_JOIN_SESSION_KEYRING, _KEYCTL_SETPERM, _KEYCTL_DESCRIBE = 1, 5, 6

prctl = function("prctl", INT, ULONG, ULONG, ULONG, ULONG)
_prctl_text = ctypes.CFUNCTYPE(INT, INT, TEXT)(("prctl", libc))
_capset = function("capset", TEXT, TEXT)
_seccomp = syscall("seccomp", UINT, UINT, POINTER)
_keyctl = syscall("keyctl", INT, ULONG, ULONG, ULONG, ULONG)
_join_keyring = syscall("keyctl", INT, TEXT)
_sched_setattr = syscall("sched_setattr", INT, TEXT, UINT)
_ioprio_set = syscall("ioprio_set", INT, INT, INT)
_set_mempolicy = syscall("set_mempolicy", INT, TEXT, ULONG)
_setgroups = function("setgroups", SIZE, POINTER)
_personality = function("personality", ULONG)
# A 32-bit (or worse) return is what prctl and capset give; LONG only marks that nothing else is read.
assert ctypes.sizeof(LONG) == ctypes.sizeof(ctypes.c_void_p)


def set_name(name: bytes) -> None:
    """The name of the calling thread, of which 15 bytes are taken."""
    _prctl_text(PR_SET_NAME, name)


class Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    @classmethod
    def of(cls, program: bytes) -> "Filter":
        """From packed struct sock_filter[], 8 bytes each."""
        return cls(len(program) // 8, program)


def drop_bounding(keep: int) -> None:
    """Drop every capability whose bit is not in keep from the bounding set; needs SETPCAP unless nothing is dropped."""
    for number in range(64):
        if keep >> number & 1:
            continue
        try:
            prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
        except PermissionError:
            held = libc.prctl(PR_CAPBSET_READ, ULONG(number), ULONG(0), ULONG(0), ULONG(0))
            if held > 0:
                raise
            if held < 0:
                return
        except OSError:
            return  # beyond the last that the kernel knows


def capability_sets(permitted: int, inheritable: int, effective: int) -> tuple[bytes, bytes]:
    """The two buffers that `capset` takes."""
    low, high = 0xFFFFFFFF, 32
    data = struct.pack(
        "=6I",
        effective & low,
        permitted & low,
        inheritable & low,
        effective >> high,
        permitted >> high,
        inheritable >> high,
    )
    return struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), data


def capset(sets: tuple[bytes, bytes]) -> None:
    """capset(2) for the calling thread."""
    _capset(*sets)


def permitted() -> int:
    """The permitted capabilities of the calling thread."""
    buffer = ctypes.create_string_buffer(24)
    libc.capget(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), buffer)
    words = struct.unpack("=6I", buffer)
    return int(words[1] | words[4] << 32)


def raise_ambient(capabilities: int) -> None:
    """Clear the ambient set, then raise these; each must be permitted and inheritable."""
    prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for number in range(64):
        if capabilities >> number & 1:
            prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0)


def load_filter(program: Filter, flags: int = 0) -> int:
    """seccomp(2) SECCOMP_SET_MODE_FILTER; the notify fd with NEW_LISTENER."""
    return _seccomp(SECCOMP_SET_MODE_FILTER, flags, ctypes.addressof(program))


def setgroups(groups: tuple[int, ...]) -> None:
    """setgroups(2); os.setgroups refuses more than NGROUPS_MAX of its own making."""
    _setgroups(len(groups), (UINT * len(groups))(*groups))


def join_session_keyring(name: bytes) -> int:
    """Create or join a session keyring; gives its serial number."""
    return _join_keyring(_KEYCTL_JOIN_SESSION_KEYRING, name)


def keyring_permissions(serial: int, permissions: int) -> None:
    """keyctl(KEYCTL_SETPERM)."""
    _keyctl(_KEYCTL_SETPERM, serial, permissions, 0, 0)


def sched_setattr(policy: int, flags: int, nice: int, priority: int, runtime: int, deadline: int, period: int) -> None:
    """sched_setattr(2) for the calling thread."""
    attr = struct.pack("=IIQiIQQQ", 48, policy, flags, nice, priority, runtime, deadline, period)
    _sched_setattr(0, attr, 0)


def ioprio_set(priority: int) -> None:
    """ioprio_set(2) for the calling process; class << 13 | level."""
    _ioprio_set(1, 0, priority)


def set_mempolicy(mode: int, nodes: int) -> None:
    """set_mempolicy(2); bit n of nodes is node n."""
    _set_mempolicy(mode, nodes.to_bytes(128, "little"), 1024)


def personality(persona: int) -> None:
    """personality(2)."""
    _personality(persona)
