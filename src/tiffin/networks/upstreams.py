"""Asking the resolvers outside, for names that are none of ours.

A resolver on the host's loopback is asked from the host's network, every other one from the container's: so that it is
reached, routed and filtered as if the container had asked itself.
"""

import asyncio
import contextlib
import ipaddress
import logging
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from tiffin.errors import TiffinError
from tiffin.linux.datagrams import disconnect
from tiffin.networks import dns_message as dns

log = logging.getLogger(__name__)

MOST = 3
"""So many resolvers are asked, as resolv.conf(5) has it."""
SECONDS = 4.0
"""So long each may take."""

_AT_ONCE = 64
_IDLE = 8
_FETCHED = 4  # a process has to be forked to make sockets elsewhere, so they come by the handful
_BEGINNING = 100  # times 10 ms, until what makes sockets in a container that has just begun can be asked

Inside = Callable[..., Awaitable[list[int]]]
"""Makes sockets in the container's network namespace: (family, type, protocol) each. Raises OSError, TiffinError."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A resolver's address; `on_host` when it is to be reached from the host's network."""

    address: str
    on_host: bool

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET


def choose(given: Sequence[str], host: Sequence[str], *, ipv6: bool) -> list[Upstream]:
    """The resolvers for a container: those `given` (`--dns`), or the host's.

    A resolver of the host's that only the host can reach is asked from there: one on its loopback, one whose address
    has a zone, one with an IPv6 address for a container without.
    """
    if given:
        return [Upstream(one, False) for one in given[:MOST]]
    found = []
    for text in host[:MOST]:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        there = address.is_loopback or "%" in text or (address.version == 6 and not ipv6)
        found.append(Upstream(text, there))
    return found


class Forwarder:
    """Asks for one container. Used from the event loop."""

    def __init__(self, upstreams: Sequence[Upstream], inside: Inside) -> None:
        self.upstreams = tuple(upstreams)
        self._inside = inside
        self._idle: dict[socket.AddressFamily, list[socket.socket]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._fetching = asyncio.Lock()
        self._closed = False

    def close(self) -> None:
        """Close the sockets."""
        self._closed = True
        for idle in self._idle.values():
            for one in idle:
                one.close()
        self._idle.clear()

    async def ask(self, data: bytes, question: dns.Question, *, stream: bool) -> tuple[bytes, Upstream] | None:
        """The first answer that says something, and whose; None when there is none. `stream`: over TCP.

        A resolver that fails, refuses or doesn't answer in time leaves it to the next.
        """
        number = secrets.randbits(16)
        request = dns.with_id(data, number)
        async with self._slots:
            for upstream in self.upstreams:
                try:
                    async with asyncio.timeout(SECONDS):
                        exchange = self._over_tcp if stream else self._over_udp
                        reply = await exchange(upstream, request, question, number)
                except (OSError, TiffinError, TimeoutError) as error:
                    log.debug("%s: %s does not answer: %s", question, upstream.address, str(error) or "too late")
                    continue
                if dns.code_of(reply) in (dns.SERVFAIL, dns.REFUSED):
                    log.debug("%s: %s says %s", question, upstream.address, dns.CODES[dns.code_of(reply)])
                    continue
                return dns.with_id(reply, question.id), upstream
        return None

    async def _over_udp(self, upstream: Upstream, request: bytes, question: dns.Question, number: int) -> bytes:
        loop = asyncio.get_running_loop()
        async with self._datagrams(upstream) as sock:
            # connected: only this resolver's answers arrive, and a port where nobody listens is an error at once
            await loop.sock_connect(sock, (upstream.address, 53))
            await loop.sock_sendall(sock, request)
            while True:
                reply = await loop.sock_recv(sock, dns.LARGEST)
                if dns.answers(reply, question, number):
                    return reply

    async def _over_tcp(self, upstream: Upstream, request: bytes, question: dns.Question, number: int) -> bytes:
        loop = asyncio.get_running_loop()
        wanted = (upstream.family, socket.SOCK_STREAM, 0)
        made = socket.socket(*wanted) if upstream.on_host else (await self._make(wanted))[0]
        with made as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, (upstream.address, 53))
            await loop.sock_sendall(sock, struct.pack("!H", len(request)) + request)
            length = int.from_bytes(await _exactly(sock, 2), "big")
            reply = await _exactly(sock, length)
        if not dns.answers(reply, question, number):
            raise ConnectionError("the answer is to another question")
        return reply

    @contextlib.asynccontextmanager
    async def _datagrams(self, upstream: Upstream) -> AsyncIterator[socket.socket]:
        """A socket for one exchange: unconnected, so that the next connect gives it another source port."""
        if upstream.on_host:
            with socket.socket(upstream.family, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                yield sock
            return
        sock = await self._take(upstream.family)
        try:
            yield sock
        except BaseException:
            sock.close()  # a late answer may still come to it
            raise
        self._put(upstream.family, sock)

    async def _take(self, family: socket.AddressFamily) -> socket.socket:
        idle = self._idle.setdefault(family, [])
        if not idle:
            async with self._fetching:
                if not idle:
                    idle += await self._make(*[(family, socket.SOCK_DGRAM, 0)] * _FETCHED)
        return idle.pop()

    def _put(self, family: socket.AddressFamily, sock: socket.socket) -> None:
        idle = self._idle.setdefault(family, [])
        with contextlib.ExitStack() as undo:
            undo.callback(sock.close)
            if not self._closed and len(idle) < _IDLE:
                disconnect(sock.fileno())
                idle.append(sock)
                undo.pop_all()

    async def _make(self, *wanted: tuple[int, int, int]) -> list[socket.socket]:
        for _ in range(_BEGINNING):
            try:
                made = [socket.socket(fileno=fd) for fd in await self._inside(*wanted)]
                break
            except TiffinError:
                await asyncio.sleep(0.01)
        else:
            raise ConnectionError("the container's network is gone")
        for one in made:
            one.setblocking(False)
        return made


async def _exactly(sock: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    found = bytearray()
    while len(found) < count:
        piece = await loop.sock_recv(sock, count - len(found))
        if not piece:
            raise ConnectionError("the connection ended within an answer")
        found += piece
    return bytes(found)
