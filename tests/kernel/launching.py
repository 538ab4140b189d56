"""Containers through the real forkserver and monitor, for tests: `with_forkserver` runs a coroutine with one."""

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from kernel import plans
from rig.waiting import PATIENCE
from tiffin.linux import fds
from tiffin.runtime import channel
from tiffin.runtime.launcher import Attachment, Exit, Forkserver, Running
from tiffin.runtime.nursery import SPARES

Body = Callable[["Rig"], Awaitable[None]]


class Rig:
    """A forkserver with a root file system."""

    def __init__(self, place: Path, forkserver: Forkserver) -> None:
        self.place, self.forkserver = place, forkserver
        self._clients: list[socket.socket] = []

    def client(self, **want: Any) -> tuple["Client", Attachment]:
        """Our end of an attached stream, and the attachment to pass."""
        ours, theirs = socket.socketpair()
        return Client(ours), Attachment(theirs.detach(), **want)

    async def start(self, *argv: str, attachments: Any = (), network: Any = None, **more: Any) -> Running:
        """Start a container from the busybox root."""
        plan = plans.container(self.place, *argv, network=network is not None, **more)
        return await self.forkserver.start(plan, attachments=attachments, network=network)

    async def output(self, *argv: str, **more: Any) -> tuple[str, Exit]:
        """Run to the end: what it wrote to stdout and stderr, and how it ended."""
        client, attachment = self.client()
        running = await self.start(*argv, attachments=[attachment], **more)
        text = await client.rest()
        how = await running.wait()
        running.close()
        return text.decode("utf-8", "replace"), how

    def lines(self) -> list[dict[str, Any]]:
        """The entries of place/log."""
        return [json.loads(line) for line in (self.place / "log").read_text().splitlines()]

    def monitor_of(self, name: str = "box") -> int:
        """The pid of a container's monitor."""
        sock = channel.connect(str(self.place / name), "monitor.sock")
        pid = fds.peer(sock)[0]
        sock.close()
        return pid


class Client:
    """The far end of an attached stream."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.seen = b""

    async def read(self) -> bytes:
        """What comes next; empty at the end."""
        try:
            data = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
        except ConnectionResetError:
            data = b""
        self.seen += data
        return data

    async def rest(self) -> bytes:
        """Everything up to the end."""
        while await self.read():
            pass
        return self.seen

    async def until(self, text: bytes) -> bytes:
        """Read until text has been seen."""
        while text not in self.seen:
            assert await self.read(), f"the stream ended before {text!r}: {self.seen!r}"
        return self.seen

    async def send(self, data: bytes) -> None:
        """Type something."""
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    def half_close(self) -> None:
        """End our direction."""
        self.socket.shutdown(socket.SHUT_WR)


def with_forkserver(place: Path, body: Body) -> None:
    """Run body with a forkserver of its own; it is gone afterwards."""

    async def run() -> None:
        plans.make_root(place)
        forkserver = Forkserver(place)
        await forkserver.open()
        pid = forkserver.pid
        try:
            await asyncio.wait_for(body(Rig(place, forkserver)), 100 * PATIENCE)
        finally:
            forkserver.close()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    asyncio.run(run())


def children(pid: int) -> list[int]:
    """Of a process with one thread."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def idle(pid: int) -> bool:
    """Whether a forkserver has no monitors but those in reserve, which look like the nursery that they come from."""
    try:
        names = [Path(f"/proc/{one}/cmdline").read_bytes().split(b"\0")[:2] for one in children(pid)]
    except (FileNotFoundError, ProcessLookupError):  # one ends just now
        return False
    return 1 <= len(names) <= 1 + sum(SPARES.values()) and all(
        name == [b"tiffin-forkserver", b"nursery"] for name in names
    )


def parent(pid: int) -> int:
    """Of a process; 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def at_rest(rig: Rig, running: Running) -> bool:
    """Whether the process that started a container has handed it over: its monitor is the forkserver's own child."""
    return parent(running.pid) in children(rig.forkserver.pid)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    for _ in range(int(4000 * PATIENCE)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never became true")
