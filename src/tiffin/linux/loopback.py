"""The loopback interface of the caller's network namespace. Raises OSError."""

import _socket as socket  # socket itself loads enum
import struct
from fcntl import ioctl

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def bring_up() -> None:
    """With its addresses, which the kernel gives it."""
    with_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        request = ioctl(with_socket, _SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))
        flags = struct.unpack_from("16sh", request)[1] | _IFF_UP
        ioctl(with_socket, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags))
    finally:
        with_socket.close()
