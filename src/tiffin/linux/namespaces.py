"""Namespaces, pidfds and what a process is to its parent. Raises OSError."""

import os
import struct
from fcntl import ioctl

from tiffin.linux.syscalls import INT, POINTER, SIZE, TEXT, UINT, function, syscall

CLONE_NEWTIME, CLONE_NEWNS, CLONE_NEWCGROUP = 0x80, 0x20000, 0x2000000
CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x4000000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
NAMES = {
    CLONE_NEWUSER: "user",
    CLONE_NEWCGROUP: "cgroup",
    CLONE_NEWIPC: "ipc",
    CLONE_NEWUTS: "uts",
    CLONE_NEWNET: "net",
    CLONE_NEWPID: "pid",
    CLONE_NEWNS: "mnt",
    CLONE_NEWTIME: "time",
}
_PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, struct pidfd_info of 64 bytes)
_PIDFD_INFO_EXIT = 1 << 3

_unshare = function("unshare", INT)
_setns = function("setns", INT, INT)
_pidfd_open = syscall("pidfd_open", INT, UINT)
_pidfd_send_signal = syscall("pidfd_send_signal", INT, INT, POINTER, UINT)
_sethostname = function("sethostname", TEXT, SIZE)
_setdomainname = function("setdomainname", TEXT, SIZE)


def unshare(flags: int) -> None:
    """unshare(2). A second live thread makes it fail for user namespaces."""
    _unshare(flags)


def setns(fd: int, flags: int) -> None:
    """setns(2): a namespace's fd with its one flag, or a pidfd with all the flags wanted (all or nothing)."""
    _setns(fd, flags)


def pidfd_open(pid: int) -> int:
    """pidfd_open(2); CLOEXEC."""
    return _pidfd_open(pid, 0)


def pidfd_send_signal(pidfd: int, number: int) -> None:
    """pidfd_send_signal(2). ProcessLookupError once the process is gone."""
    _pidfd_send_signal(pidfd, number, None, 0)


def exit_status(pidfd: int) -> int | None:
    """The wait status of a process that someone else reaped; None before, or where the kernel (< 6.15) can't tell."""
    info = bytearray(struct.pack("QQ48x", _PIDFD_INFO_EXIT, 0))
    try:
        ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    mask, exit_code = struct.unpack_from("Q", info)[0], struct.unpack_from("i", info, 60)[0]
    return int(exit_code) if mask & _PIDFD_INFO_EXIT else None


def zombie_status(pid: int) -> int | None:
    """The wait status of a process that has ended and that nobody has reaped yet, from proc(5); None for any other."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fields = os.read(fd, 4096).rpartition(b")")[2].split()
    except OSError:
        return None
    finally:
        os.close(fd)
    return int(fields[-1]) if fields and fields[0] == b"Z" else None


def sethostname(name: bytes) -> None:
    """sethostname(2)."""
    _sethostname(name, len(name))


def setdomainname(name: bytes) -> None:
    """setdomainname(2)."""
    _setdomainname(name, len(name))


def open_namespace(pid: int, flag: int) -> int:
    """The fd of one namespace of a process, by the host's /proc."""
    return os.open(f"/proc/{pid}/ns/{NAMES[flag]}", os.O_RDONLY | os.O_CLOEXEC)
