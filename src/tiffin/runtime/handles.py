"""What passes between a daemon and the launcher: clients, sandboxes, ends, failures."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


class StartFailed(Exception):
    """A process could not be started. Its text is worded as Docker words it: clients look for 126 and 127 in it."""

    def __init__(self, step: str, number: int, path: str, message: str) -> None:
        super().__init__(message)
        self.step, self.errno, self.path, self.message = step, number, path, message


@dataclass
class Attachment:
    """A client of a process's streams. The monitor owns the descriptor afterwards.

    The daemon must not use it any more.
    """

    fd: int
    """A connected stream socket: the client's hijacked one, or one end of a socketpair."""
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    framed: bool = False
    """Docker's 8-byte headers; raw with a terminal."""
    detach_keys: bytes = b""
    leftover: bytes = b""
    """What the client has sent already and the daemon has read."""
    ended: "asyncio.Future[str] | None" = None
    """Set by the launcher: done when the stream has ended, with the reason eof, exit, keys, gone, slow or failed."""

    def want(self, number: int) -> dict[str, object]:
        """As it is sent to the monitor."""
        return {
            "id": number,
            "stdin": self.stdin,
            "stdout": self.stdout,
            "stderr": self.stderr,
            "framed": self.framed,
            "detach_keys": self.detach_keys,
            "leftover": self.leftover,
        }


@dataclass(frozen=True)
class Sandbox:
    """A network namespace to configure: a NETLINK_ROUTE socket made inside it, and its own descriptor.

    resolver: also made inside, where the plan asked for it: UDP, TCP, netfilter (see doors.RESOLVER).
    """

    netlink: int
    namespace: int
    pid: int
    resolver: tuple[int, ...] = ()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All of them, to be closed."""
        return self.netlink, self.namespace, *self.resolver


@dataclass(frozen=True)
class Exit:
    """How a container ended: code as a shell reports it, finished_at in ns of Unix time."""

    code: int
    oom_killed: bool
    finished_at: int
    error: str = ""


@dataclass
class ExecProcess:
    """A further process in a container."""

    id: str
    pid: int
    _code: "asyncio.Future[int]"
    attached: bool = False
    """Whether a client has its streams."""
    lost: bool = False
    """Its monitor was killed: of one with clients the end is near."""

    async def wait(self) -> int:
        """Its exit code, which is known before its clients see the end of their streams."""
        return await asyncio.shield(self._code)


Networking = Callable[[Sandbox], Awaitable[None]]
"""Gives a sandbox its interfaces."""
