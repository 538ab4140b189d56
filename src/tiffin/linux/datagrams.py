"""What Python's sockets can't do with datagrams. Raises OSError."""

import os

from tiffin.linux.syscalls import INT, TEXT, UINT, function

_connect = function("connect", INT, TEXT, UINT)
_UNSPECIFIED = bytes(16)  # struct sockaddr of family AF_UNSPEC


def disconnect(fd: int) -> None:
    """Make a connected UDP socket unconnected, without a port, and empty (connect(2), AF_UNSPEC)."""
    _connect(fd, _UNSPECIFIED, len(_UNSPECIFIED))
    while True:
        try:
            os.read(fd, 1)  # what came twice, or came late
        except BlockingIOError:
            return
        except ConnectionRefusedError:
            continue
