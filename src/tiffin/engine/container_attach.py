"""Clients on a container's streams: handed to its monitor when it runs, kept until it does."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tiffin.engine.container_context import Context
from tiffin.errors import Conflict, Invalid
from tiffin.model.container import Container
from tiffin.model.container_status import Paused, Restarting
from tiffin.runtime.launcher import Attachment

DETACH_KEYS = b"\x10\x11"  # ^P^Q


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks of an attach."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    stream: bool = True
    logs: bool = False
    detach_keys: str = ""


class Attaching:
    """Sockets given away by the HTTP server, on their way to monitors."""

    def __init__(self, context: Context, replay: Callable[[Container, Wanted, bool], AsyncIterator[bytes]]) -> None:
        self._context = context
        self._replay = replay

    def check(self, reference: str, wanted: Wanted) -> Container:
        """What can be refused before the connection is given away. Raises NotFound, Conflict, Invalid."""
        container = self._context.records.find(reference)
        if isinstance(container.status, Paused):
            raise Conflict(f"container {container.id} is paused, unpause the container before attach")
        if isinstance(container.status, Restarting):
            raise Conflict(f"container {container.id} is restarting, wait until the container is running")
        parse_keys(wanted.detach_keys)
        return container

    @contextmanager
    def arriving(self, container: Container) -> Iterator[None]:
        """While the client may know that it is attached, and we have not its socket yet: a start waits for it."""
        live = self._context.live(container.id)
        live.arriving += 1
        try:
            yield
        finally:
            live.arriving -= 1

    async def attach(self, container: Container, wanted: Wanted, fd: int, leftover: bytes, framed: bool) -> None:
        """Give a socket (its descriptor is ours from now on) to the container. Returns when that is done."""
        context = self._context
        if wanted.logs:
            fd = await self._send_logs(container, wanted, fd, framed)
        if not wanted.stream:
            os.close(fd)
            return
        attachment = Attachment(
            fd=fd,
            stdin=wanted.stdin and container.config.open_stdin,
            stdout=wanted.stdout,
            stderr=wanted.stderr,
            framed=framed,
            detach_keys=parse_keys(wanted.detach_keys) if container.config.tty else b"",
            leftover=leftover,
        )
        context.publish(container, "attach")
        live = context.live(container.id)
        if live.process is None:
            self._keep(container.id, attachment)
            return
        ended = await live.process.attach(attachment)
        context.watch_stream(container.id, ended)

    async def _send_logs(self, container: Container, wanted: Wanted, fd: int, framed: bool) -> int:
        """What was said so far, before what is said from now on."""
        loop = asyncio.get_running_loop()
        stream = socket.socket(fileno=fd)
        stream.setblocking(False)
        try:
            async for piece in self._replay(container, wanted, framed):
                await loop.sock_sendall(stream, piece)
        except OSError:
            stream.close()
            raise
        return stream.detach()

    def _keep(self, container_id: str, attachment: Attachment) -> None:
        live = self._context.live(container_id)
        live.pending.append(attachment)

        def gone() -> None:
            if attachment in live.pending:
                live.pending.remove(attachment)
                os.close(attachment.fd)

        self._context.hangups.watch(attachment.fd, gone)


def parse_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` as bytes; docker's default where empty. Raises Invalid."""
    if not text:
        return DETACH_KEYS
    found = bytearray()
    for word in text.split(","):
        if len(word) == 1:
            found += word.encode("ascii", "replace")
        elif word.lower() == "del":
            found.append(127)
        elif word.startswith("ctrl-") and len(word) == 6:
            key = word[5]
            if key.isascii() and key.isalpha():
                found.append(ord(key.lower()) - 96)
            elif key in "@[\\]^_":
                found.append({"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}[key])
            else:
                raise Invalid(f"invalid detach keys ({text}): unknown character: '{word}'")
        else:
            raise Invalid(f"invalid detach keys ({text}): unknown character: '{word}'")
    return bytes(found)
