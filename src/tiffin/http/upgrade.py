"""The bytes that lead out of HTTP, and the wait that keeps them apart from what follows."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import http
import select
import socket
import termios
from typing import Protocol

_PATIENCE, _TICK = 0.05, 0.001  # s


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
    not read, on TCP what it has not acknowledged. A unix socket says when that changes: the loop's timers, which count
    in milliseconds, would wait longer than clients take.
    """
    if not _unread(sock):
        return
    loop = asyncio.get_running_loop()
    deadline, changed = loop.time() + _PATIENCE, asyncio.Event()
    with select.epoll() as watch:
        watch.register(sock, select.EPOLLOUT | select.EPOLLET)
        loop.add_reader(watch.fileno(), changed.set)
        try:
            while _unread(sock) and loop.time() < deadline:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), _TICK)
                watch.poll(0)
                changed.clear()
        finally:
            loop.remove_reader(watch.fileno())


def _unread(sock: socket.socket) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
    return count[0]
