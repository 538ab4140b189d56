"""File descriptors: passing them, closing them, moving bytes between them in the kernel. Raises OSError."""

import _socket as socket  # socket itself loads enum and selectors, which a monitor has no use for
import array
import os

from tiffin.linux.syscalls import INT, POINTER, SIZE, UINT, function, syscall

CLOSE_RANGE_CLOEXEC = 4
SPLICE_F_MOVE, SPLICE_F_NONBLOCK = 1, 2
MAX_FDS = 253  # SCM_MAX_FD

close_range = syscall("close_range", UINT, UINT, UINT)
_splice = function("splice", INT, POINTER, INT, POINTER, SIZE, UINT)


def close_others(keep: set[int]) -> None:
    """Close every descriptor but these."""
    start = 0
    for fd in sorted(keep):
        if fd > start:
            close_range(start, fd - 1, 0)
        start = fd + 1
    close_range(start, 0xFFFFFFFF, 0)


def splice(source: int, target: int, count: int, flags: int = SPLICE_F_NONBLOCK) -> int:
    """splice(2) at both current offsets; 0 at the end of the source, BlockingIOError when nothing is there."""
    return _splice(source, None, target, None, count, flags)


def send(channel: socket.socket, data: bytes, fds: tuple[int, ...] = (), flags: int = 0) -> None:
    """One message with file descriptors over a SEQPACKET socket."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []
    channel.sendmsg([data], ancillary, flags | socket.MSG_NOSIGNAL)


def receive(channel: socket.socket, size: int = 65536, flags: int = 0) -> tuple[bytes, list[int]]:
    """One message and its file descriptors (CLOEXEC); empty data is the end. OSError where it was cut off."""
    space = socket.CMSG_LEN(MAX_FDS * 4)
    data, ancillary, status, _ = channel.recvmsg(size, space, flags | socket.MSG_CMSG_CLOEXEC)
    if not data and not ancillary:
        # Linux looks for messages, then whether the other end was closed: the last one may have come in between.
        data, ancillary, status, _ = channel.recvmsg(size, space, flags | socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(payload[: len(payload) - len(payload) % 4])
            fds += numbers
    if status & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        for fd in fds:
            os.close(fd)
        raise OSError(90, "message cut off")  # EMSGSIZE
    return data, fds


def peer(channel: socket.socket) -> tuple[int, int, int]:
    """SO_PEERCRED: (pid, uid, gid) of who connected."""
    raw = array.array("i")
    raw.frombytes(channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return raw[0], raw[1], raw[2]
