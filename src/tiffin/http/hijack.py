"""What is left of a connection that has stopped speaking HTTP: a socket, and bytes that were read too early."""

from __future__ import annotations

import asyncio
import contextlib
import socket

RAW_STREAM = "application/vnd.docker.raw-stream"
MULTIPLEXED_STREAM = "application/vnd.docker.multiplexed-stream"


class Hijacked:
    """A connection given away. Its holder closes it, or detaches the descriptor and gives that away in turn.

    The descriptor is the client's own socket on unix and plain tcp; behind TLS and WebSockets it is one end of a
    socketpair whose other end the server pumps. It is non-blocking and close-on-exec.
    """

    __slots__ = ("leftover", "socket", "upgraded")

    def __init__(self, sock: socket.socket, leftover: bytes, upgraded: bool) -> None:
        self.socket = sock
        self.leftover = leftover
        """Bytes from the client that came along with the request: they precede whatever the socket yields."""
        self.upgraded = upgraded
        """Whether the client asked for it (101) or got a raw 200."""

    def fileno(self) -> int:
        """The descriptor; it stays this object's."""
        return self.socket.fileno()

    def detach(self) -> int:
        """The descriptor, from now on the caller's to close."""
        return self.socket.detach()

    def close(self) -> None:
        """End the connection."""
        self.socket.close()

    def __enter__(self) -> Hijacked:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def last_words(client: socket.socket, text: bytes) -> None:
    """Say why nothing more comes to a client whose connection was handed over, and end it."""
    client.setblocking(False)
    with contextlib.suppress(OSError):  # nobody listens any more
        await asyncio.get_running_loop().sock_sendall(client, text)
        client.shutdown(socket.SHUT_RDWR)
