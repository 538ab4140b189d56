"""Forks as clone3(2) makes them and fork(2) does not. Raises OSError."""

import ctypes
import struct

from tiffin.linux.syscalls import LONG, NUMBERS, POINTER, SIZE, failure

_CLONE_PARENT, _CLONE_INTO_CGROUP, _SIGCHLD = 0x8000, 0x200000000, 17
_ARGUMENTS = struct.Struct("11Q")  # struct clone_args, linux/sched.h
_NUMBER = NUMBERS["clone3"]
# The interpreter's lock is held across the call, as across its own fork(): the child begins with it.
_clone3 = ctypes.PyDLL(None, use_errno=True).syscall
_clone3.argtypes, _clone3.restype = (LONG, POINTER, SIZE), LONG
_before, _in_child, _in_parent = (
    ctypes.pythonapi.PyOS_BeforeFork,
    ctypes.pythonapi.PyOS_AfterFork_Child,
    ctypes.pythonapi.PyOS_AfterFork_Parent,
)
for _call in (_before, _in_child, _in_parent):
    _call.argtypes, _call.restype = (), None


def _arguments(flags: int, signal: int, cgroup: int) -> "ctypes.Array[ctypes.c_char]":
    return ctypes.create_string_buffer(_ARGUMENTS.pack(flags, 0, 0, 0, signal, 0, 0, 0, 0, 0, cgroup), _ARGUMENTS.size)


_beside = _arguments(_CLONE_PARENT, 0, 0)
_BESIDE = ctypes.addressof(_beside)


def fork_into(directory: int) -> int:
    """os.fork(), the child in the cgroup2 directory of this descriptor from its first instruction (Linux 5.7).

    Moving a process by cgroup.procs waits for an RCU grace period, milliseconds; this does not.
    """
    arguments = _arguments(_CLONE_INTO_CGROUP, _SIGCHLD, directory)
    return _fork(ctypes.addressof(arguments))


def fork_beside() -> int:
    """os.fork(), the child a sibling: its parent is ours, and gets the signal at its end that it would get at ours."""
    return _fork(_BESIDE)


def _fork(arguments: int) -> int:
    """Only from a process with one thread.

    The C library does not learn the child's thread id: the child must not signal itself by raise(3).
    """
    _before()
    pid: int = _clone3(_NUMBER, arguments, _ARGUMENTS.size)
    if pid == 0:
        _in_child()
        return 0
    _in_parent()
    if pid < 0:
        raise failure()
    return pid
