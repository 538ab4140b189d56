"""The bytes that lead out of HTTP, and the wait that keeps them apart from what follows."""

from __future__ import annotations

import array
import asyncio
import fcntl
import http
import socket
import termios
from typing import Protocol

_PATIENCE = 0.05


class Codec(Protocol):
    """Translates between what travels on the connection and the plain stream."""

    def decode(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """From the client: payload, an answer to be sent back at once (a pong), and whether the client ended."""
        ...

    def encode(self, data: bytes) -> bytes:
        """To the client."""
        ...

    def farewell(self) -> bytes:
        """What precedes the close."""
        ...


def reason(status: int) -> bytes:
    """The phrase for a status."""
    try:
        return http.HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


def plain(status: int, body: bytes, content_type: str = "text/plain") -> bytes:
    """A whole response for a connection that HTTP has failed on."""
    head = (
        f"HTTP/1.1 {status} {reason(status).decode()}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def switching(content_type: str, protocol: str) -> bytes:
    """The 101 in docker's words; it carries no other headers."""
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    return f"HTTP/1.1 101 UPGRADED\r\n{kind}Connection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n".encode()


def raw_stream(content_type: str) -> bytes:
    """The answer to a client that expects the stream without having asked to upgrade."""
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n".encode()


async def consumed(sock: socket.socket) -> None:
    """Wait (50 ms at most) until the client has read what was sent.

    docker-py drops payload that it reads together with the header. On unix sockets SIOCOUTQ counts what the peer has
    not read, on TCP what it has not acknowledged.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE
    pause = 0.0
    count = array.array("i", [0])
    while loop.time() < deadline:
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
        if not count[0]:
            return
        await asyncio.sleep(pause)
        pause = min(pause + 0.0001, 0.002)
