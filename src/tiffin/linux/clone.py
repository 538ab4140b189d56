"""Forks as clone3(2) makes them and fork(2) does not. Raises OSError."""

import ctypes
import errno
import mmap
import os
import struct

from tiffin.linux.syscalls import INT, LONG, NUMBERS, POINTER, SIZE, failure, function, syscall

_CLONE_VM, _CLONE_PARENT, _CLONE_PARENT_SETTID, _CLONE_INTO_CGROUP, _SIGCHLD = 0x100, 0x8000, 0x100000, 0x200000000, 17
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


def fork_into(directory: int = -1) -> int:
    """os.fork(), the child in the cgroup2 directory of this descriptor from its first instruction (Linux 5.7).

    Moving a process by cgroup.procs waits for an RCU grace period, milliseconds; this does not. -1: in our own group.
    """
    if directory < 0:
        return os.fork()
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


_mprotect = function("mprotect", POINTER, SIZE, INT)
_set_tid_address = syscall("set_tid_address", POINTER)
_STEP = {
    "x86_64": bytes.fromhex(
        "b8 b3010000"  # mov $435, %eax        clone3(arguments, size)
        "0f 05"  #       syscall
        "85 c0"  #       test %eax, %eax
        "7e 09"  #       jle 1f                the child, or an error
        "31 ff"  #       xor %edi, %edi
        "b8 e7000000"  # mov $231, %eax        exit_group(0)
        "0f 05"  #       syscall
        "c3"  #          1: ret
    )
}


_taken: list["Step"] = []  # steps whose old process may still be at its last instructions: they must stay in memory


class Step:
    """A way to go on as another process with the same memory, for one that has nothing to do but to make that process.

    A fork copies the page tables, and later each page that is written to; this copies nothing (CLONE_VM). But then
    the stack is one too: whoever returned from the call second would find it trampled. So the old process ends within
    the instructions that made the new one, before it touches any memory.
    """

    def __init__(self) -> None:
        """OSError on a machine for which there are no such instructions here, or that does not let us have them."""
        code = _STEP.get(os.uname().machine)
        if code is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._page.write(code)
        place = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        _mprotect(place, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)
        self._code = ctypes.PYFUNCTYPE(LONG, POINTER, SIZE)(place)

    def into(self, directory: int = -1) -> int:
        """Be a child of our parent's, in this cgroup2 directory or in our group: the new process's id, as it was to us.

        Only from a process with one thread. Descriptors are copied; a time namespace can't be entered this way.
        """
        pid = INT()
        place, group = ctypes.addressof(pid), max(directory, 0)
        flags = _CLONE_VM | _CLONE_PARENT | _CLONE_PARENT_SETTID | (_CLONE_INTO_CGROUP if directory >= 0 else 0)
        arguments = ctypes.create_string_buffer(_ARGUMENTS.pack(flags, 0, 0, place, 0, 0, 0, 0, 0, 0, group))
        _set_tid_address(None)  # at its end the kernel would write to memory that is not the old one's any more
        result: int = self._code(ctypes.addressof(arguments), _ARGUMENTS.size)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        _taken.append(self)
        return pid.value
