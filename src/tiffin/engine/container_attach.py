"""Clients on a container's streams: handed to its monitor when it runs, kept until it does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace

from tiffin.engine.container_context import Arriving, Context
from tiffin.errors import Conflict, Invalid
from tiffin.model.container import Container
from tiffin.model.container_status import Paused, Restarting
from tiffin.runtime.launcher import Attachment, StartFailed

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

    def __init__(
        self, context: Context, replay: Callable[[Container, Wanted, bool], AsyncGenerator[bytes, None]]
    ) -> None:
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

    def arriving(self, container: Container) -> Arriving:
        """While the client may know that it is attached, and we have not its socket yet: a start waits for it."""
        return self._context.live(container.id).arriving

    async def attach(self, container: Container, wanted: Wanted, fd: int, leftover: bytes, framed: bool) -> None:
        """Give a socket (its descriptor is ours from now on) to the container. Returns when that is done.

        Where the container has ended or is gone meanwhile, the client sees the end of its stream.
        """
        context = self._context
        if wanted.logs and not await self._send_logs(container, wanted, fd, framed):
            wanted = replace(wanted, stream=False)
        if not wanted.stream or container.id not in context.records:
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
        with contextlib.suppress(StartFailed):
            context.watch_stream(container.id, await live.process.attach(attachment))

    async def _send_logs(self, container: Container, wanted: Wanted, fd: int, framed: bool) -> bool:
        """What was said so far, before what is said from now on. Whether the client still listens."""
        loop = asyncio.get_running_loop()
        stream = socket.socket(fileno=fd)
        stream.setblocking(False)
        try:
            async with contextlib.aclosing(self._replay(container, wanted, framed)) as pieces:
                async for piece in pieces:
                    await loop.sock_sendall(stream, piece)
        except OSError:
            return False
        except BaseException:
            stream.close()
            raise
        finally:
            stream.detach()
        return True

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
