"""gRPC's server against ends that do not play by the rules: h2 driven by hand, or bytes that are no HTTP/2 at all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded, StreamReset, TrailersReceived

from tiffin.wire.grpc import connection as connections
from tiffin.wire.grpc import link
from tiffin.wire.grpc.connection import Connection, Handler
from tiffin.wire.grpc.framing import prefixed
from tiffin.wire.grpc.status import Code
from tiffin.wire.grpc.stream import Stream
from unit.wire.test_grpc import PATIENCE, echo, run


class Peer:
    """A client by hand."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        configuration = H2Configuration(
            client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.h2 = H2Connection(configuration)
        self.h2.initiate_connection()

    async def flush(self) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, self.h2.data_to_send())

    async def events(self) -> list[object]:
        data = await asyncio.get_running_loop().sock_recv(self.sock, 65536)
        if not data:
            raise ConnectionError("closed")
        found: list[object] = list(self.h2.receive_data(data))
        await self.flush()
        return found

    async def status(self, stream: int) -> str:
        """The grpc-status that ends a call."""
        while True:
            for event in await self.events():
                if isinstance(event, TrailersReceived) and event.stream_id == stream:
                    return dict(event.headers)[b"grpc-status"].decode()
                assert not isinstance(event, StreamEnded | StreamReset) or event.stream_id != stream

    async def closed(self) -> None:
        """Until the server has hung up."""
        with suppress(ConnectionError):
            while True:
                await self.events()

    def begin(self, *more: tuple[str, str], end: bool = False) -> int:
        number = self.h2.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":path", "/s/m"), (":authority", "x")]
        self.h2.send_headers(number, [*head, *more], end_stream=end)
        return number


@asynccontextmanager
async def hostile(handler: Handler = echo) -> AsyncIterator[tuple[Peer, Connection]]:
    ours, theirs = socket.socketpair()
    server = Connection(handler=handler)
    await server.open(theirs)
    try:
        yield Peer(ours), server
    finally:
        server.close()
        ours.close()
        await asyncio.wait_for(server.wait_closed(), PATIENCE)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00" * 10,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\1\1\4\0\0\0\1\xff",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\4\3\0\0\0\0\0" + b"\0\0\0\0",
    ],
)
def test_what_is_not_http2_ends_the_connection_and_nothing_else(data: bytes) -> None:
    async def test() -> None:
        async with hostile() as (peer, server):
            await asyncio.get_running_loop().sock_sendall(peer.sock, data)
            await server.wait_closed()

    run(test)


def test_a_hostile_prefix_fails_its_call_only() -> None:
    async def test() -> None:
        async with hostile() as (peer, _):
            bad, good = peer.begin(), peer.begin()
            peer.h2.send_data(bad, b"\0\xff\xff\xff\xff")
            peer.h2.send_data(good, prefixed(b"hello"), end_stream=True)
            await peer.flush()
            found = {}
            while len(found) < 2:
                for event in await peer.events():
                    if isinstance(event, TrailersReceived):
                        found[event.stream_id] = dict(event.headers)[b"grpc-status"]
            assert found == {bad: b"8", good: b"0"}

    run(test)


def test_a_message_that_stops_halfway_is_an_error() -> None:
    async def test() -> None:
        async with hostile() as (peer, _):
            number = peer.begin()
            peer.h2.send_data(number, prefixed(b"whole message")[:-4], end_stream=True)
            await peer.flush()
            assert await peer.status(number) == str(int(Code.INTERNAL))

    run(test)


def test_more_calls_than_allowed_are_a_protocol_error() -> None:
    async def wait(stream: Stream) -> None:
        await asyncio.Event().wait()

    async def test() -> None:
        async with hostile(wait) as (peer, server):
            peer.h2.remote_settings.acknowledge()
            for _ in range(link.STREAMS + 1):
                peer.begin()
            await peer.flush()
            await peer.closed()
            await server.wait_closed()

    run(test)


def test_calls_begun_and_broken_off_without_end_are_not_served_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP/2's rapid reset."""
    monkeypatch.setattr(connections, "RESETS", 20)

    async def wait(stream: Stream) -> None:
        await asyncio.Event().wait()

    async def test() -> None:
        async with hostile(wait) as (peer, server):
            with suppress(ConnectionError):
                for _ in range(100):
                    number = peer.begin()
                    peer.h2.reset_stream(number)
                    await peer.flush()
                    await asyncio.sleep(0)
            await peer.closed()
            await server.wait_closed()

    run(test)


def test_a_peer_that_never_reads_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers to its pings would pile up."""
    monkeypatch.setattr(link, "UNSENT", 100_000)

    async def test() -> None:
        async with hostile() as (peer, server):
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            ping = b"\0\0\x08\x06\0\0\0\0\0" + b"12345678"
            loop = asyncio.get_running_loop()
            await peer.flush()
            with suppress(ConnectionError):
                while not server.closed:
                    await asyncio.wait_for(loop.sock_sendall(peer.sock, ping * 500), PATIENCE)
            await server.wait_closed()

    run(test)


def test_pings_go_out_and_silence_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "PING_SECONDS", 0.01)
    monkeypatch.setattr(link, "PING_PATIENCE", 0.05)

    async def test() -> None:
        async with hostile() as (peer, server):
            await peer.flush()
            await server.wait_closed()

    run(test)
