"""One connection: HTTP/1.1 by h11 on an asyncio transport, one request at a time, until it closes or is hijacked.

What docker's clients need and common servers lack: the answer goes on after the client has shut down its write side;
a hijacked socket leaves as a descriptor, its 101 sent alone; reading stops when nobody takes the body, and writing
when nobody takes the answer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, BinaryIO, cast

import h11

from tiffin.errors import Invalid
from tiffin.http import errors, files, upgrade
from tiffin.http.chunks import Chunks
from tiffin.http.errors import ClientGone
from tiffin.http.exchange import Exchange
from tiffin.http.hangups import probe
from tiffin.http.hijack import Hijacked
from tiffin.http.lending import Lent
from tiffin.http.messages import Messages
from tiffin.http.tunnel import Tunnel

if TYPE_CHECKING:
    from tiffin.http.server import Server

log = logging.getLogger(__name__)

HEADER_LIMIT = 256 << 10  # bytes of a request line and its headers (X-Registry-Config is one of them)
BUFFERED = 256 << 10  # bytes of a body that wait for the handler, of an answer for the client, and of early data
HEADER_SECONDS = 60.0  # a request that has begun must have sent its headers by then
LINGER_SECONDS = 2.0  # the rest of an unwanted body is discarded so long, so that the answer is seen


class Connection(asyncio.Protocol):
    """The protocol object; `Server` makes one for each accepted socket."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.http = Messages(HEADER_LIMIT)
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.secure = False
        self.is_unix = False
        self.lost = False
        self.served = 0
        """Requests that have come on this connection."""
        self._task: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._tunnel: Tunnel | None = None
        self._hijacked = False
        self._discarding = False
        self._reading = True
        self._ended = False
        self._early = 0
        self._chunks: Chunks | None = None
        self._body: deque[bytes] = deque()
        self._body_size = 0
        self._body_complete = True
        self._arrived: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._congested = False
        self._deadline: asyncio.TimerHandle | None = None

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=BUFFERED)
        self.secure = transport.get_extra_info("ssl_object") is not None
        self.is_unix = self.socket.family == socket.AF_UNIX
        if not self.server.admit(self):
            self.lost = True
            self.transport.write(upgrade.plain(503, b"too many connections"))
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._tunnel is not None:
            self._tunnel.from_client(data)
        elif self._chunks is not None:
            self._take_apart(self._chunks, data)
        elif self._exchange is None and not self._discarding and self.http.take(data):
            self._advance(len(data))
        elif not self._discarding:
            # up to the headers' end: what a body looks like shows in them
            head = data[: data.find(b"\r\n\r\n") + 4] if self._exchange is None and b"\r\n\r\n" in data else data
            self.http.receive_data(head)
            self._advance(len(head))
            if len(head) < len(data):
                self.data_received(data[len(head) :])

    def _take_apart(self, chunks: Chunks, data: bytes) -> None:
        try:
            piece, rest = chunks.feed(data)
        except h11.RemoteProtocolError as error:
            self._end_chunks(error)
            return
        if piece:
            self._body.append(piece)
            self._body_size += len(piece)
            self._wake()
        if rest is not None:
            self._end_chunks(rest)
        elif self._body_size > BUFFERED:
            self._pause_reading()

    def _end_chunks(self, behind: bytes | h11.RemoteProtocolError) -> None:
        self._chunks = None
        if isinstance(behind, bytes):
            self.http.receive_data(behind)
            self._advance(len(behind))
        else:
            self._refuse(behind)

    def eof_received(self) -> bool:
        """The client sends no more. It may still listen: the answer in progress goes on."""
        self._ended = True
        if self._tunnel is not None:
            self._tunnel.client_ended()
        elif self._discarding or self._exchange is None:
            return False
        else:
            self.http.receive_data(b"")
            self._advance(0)
        if not self.is_unix:
            # TCP tells a half-close from a full one only when probed
            probe(self.socket)
        self.server.hangups.watch(self.socket.fileno(), self.transport.abort)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed, by whichever side."""
        self.lost = True
        self._stop_deadline()
        self.server.hangups.forget(self.socket.fileno())
        self.server.dismiss(self)
        if self._tunnel is not None:
            self._tunnel.client_lost()
        self._wake()
        self.resume_writing()
        if self._task is not None and not self._hijacked and self._exchange is not None and self._exchange.unwanted():
            self._task.cancel()

    def pause_writing(self) -> None:
        """The client takes nothing for now."""
        self._congested = True
        if self._tunnel is not None:
            self._tunnel.client_congested(True)

    def resume_writing(self) -> None:
        """The client takes more."""
        self._congested = False
        if self._tunnel is not None:
            self._tunnel.client_congested(False)
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # Requests

    @property
    def socket(self) -> socket.socket:
        """The client's socket, the transport's to close."""
        return cast("socket.socket", self.transport.get_extra_info("socket"))

    @property
    def idle(self) -> bool:
        """Whether no request is in progress."""
        return self._task is None

    def close(self) -> None:
        """Close, the answer in progress included if it is a stream."""
        if self._exchange is not None and self._exchange.streaming and self._task is not None:
            self._task.cancel()
        elif self.idle:
            self.transport.close()

    def _advance(self, received: int) -> None:
        """Handle what h11 makes of the bytes so far."""
        try:
            while True:
                event = self.http.next_event()
                if isinstance(event, h11.Request):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    self._body.append(bytes(event.data))
                    self._body_size += len(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    self._body_complete = True
                else:
                    break
        except h11.RemoteProtocolError as error:
            self._refuse(error)
            return
        self._wake()
        if event is h11.PAUSED:
            self._early += received
        elif event is h11.NEED_DATA and self.idle and received and self._deadline is None:
            self._deadline = self.server.loop.call_later(HEADER_SECONDS, self.transport.abort)
        if isinstance(event, h11.ConnectionClosed) and self.idle:
            self.transport.close()
        elif self._body_size > BUFFERED or self._early > BUFFERED:
            self._pause_reading()

    def _begin(self, head: h11.Request) -> None:
        self._stop_deadline()
        if sum(name in (b"content-length", b"transfer-encoding") for name, _ in head.headers) > 1:
            # two readings of where the body ends are how requests are smuggled past proxies
            raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding are given")
        self._body_complete = False
        self._early = 0
        if any(name == b"transfer-encoding" for name, _ in head.headers) and not self.http.behind:
            self._chunks = Chunks()  # else h11 has a part of the body already, and reads all of it
        self.served += 1
        self._exchange = Exchange(self, head)
        self._task = self.server.loop.create_task(self._serve(self._exchange))
        self.server.track(self._task)

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await exchange.run()
        except asyncio.CancelledError:
            self.transport.abort()
        except (ClientGone, h11.LocalProtocolError):
            log.debug("connection broken off", exc_info=True)
            self.transport.abort()
        finally:
            self._task = None
        if not self._hijacked and not self.lost:
            self._next()

    def _next(self) -> None:
        """Ready the connection for the next request, or close it."""
        self._exchange = None
        self._body.clear()
        self._body_size = 0
        if not self.server.closing and self.http.next_cycle():
            self._resume_reading()
            self._advance(0)
        elif self._body_complete or self._ended:
            self.transport.close()
        else:
            self._linger()

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """Answer what is not HTTP, if an answer is still possible, and close."""
        log.debug("bad request: %s", error)
        self._wake()
        if self._exchange is None and not self._discarding:
            text = errors.body(Invalid(f"bad request: {error}"))
            self.transport.write(upgrade.plain(error.error_status_hint, text, "application/json"))
            self._linger()
        elif self._task is not None:
            self._body_complete = False
            self._ended = True

    def _linger(self) -> None:
        # closing with unread input resets the connection, and the client would lose the answer
        self._discarding, self._chunks = True, None
        if self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._resume_reading()
        self._stop_deadline()
        self._deadline = self.server.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # What an exchange needs

    @property
    def body_complete(self) -> bool:
        """Whether the whole body of the request has come in."""
        return self._body_complete

    async def receive(self) -> bytes:
        """The next piece of the body, b"" at its end. Raises Invalid when the client breaks off."""
        if self.http.they_are_waiting_for_100_continue and not self._body:
            self.write(self.http.inform(100))
        while not self._body:
            if self._body_complete:
                return b""
            if self.lost or self._ended:
                raise Invalid("the request's body ended early: unexpected EOF")
            self._arrived = self.server.loop.create_future()
            await self._arrived
        piece = self._body.popleft()
        self._body_size -= len(piece)
        if self._body_size <= BUFFERED // 2:
            self._resume_reading()
        return piece

    def lend(self) -> Lent | None:
        """The body for a thread to read; None where that is not for it: TLS, h11 has a part of it, or all has come."""
        if self._chunks is None or self.secure or self.lost or self._ended:
            return None
        arrived, self._body, self._body_size = self._body, deque(), 0
        self._pause_reading()
        return Lent(self.socket.dup(), self._chunks, arrived, self._returned)

    def _returned(self, behind: bytes | h11.RemoteProtocolError | None) -> None:
        if behind is not None and not self.lost:
            self._end_chunks(behind)
        self._resume_reading()

    def write(self, data: bytes | None) -> None:
        """Send. Raises ClientGone."""
        if self.lost or self.transport.is_closing():
            raise ClientGone
        if data:
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has taken most of what was sent. Raises ClientGone."""
        while self._congested and not self.lost:
            self._writable = self.server.loop.create_future()
            await self._writable
        if self.lost:
            raise ClientGone

    def send_file(self, file: BinaryIO, offset: int, count: int) -> AsyncIterator[int]:
        """Send a part of a file, slice by slice: the bytes of each. Raises ClientGone."""
        return files.send(self.transport, self.drain, file, offset, count)

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _pause_reading(self) -> None:
        if self._reading and not self._ended and not self.lost:
            self._reading = False
            self.transport.pause_reading()
            self.server.hangups.watch(self.socket.fileno(), self.transport.abort)

    def _resume_reading(self) -> None:
        if not self._reading and not self.lost:
            self._reading = True
            self.server.hangups.forget(self.socket.fileno())
            self.transport.resume_reading()

    # Leaving HTTP

    async def leave(self, header: bytes, upgraded: bool) -> Hijacked:
        """Send `header` by itself and give the socket away, with whatever was read after the request."""
        leftover = await self._quiet()
        if self.secure:
            return await self.tunnel(header, upgraded, leftover)
        self.transport.set_write_buffer_limits(high=0)
        self.write(header)
        await self.drain()
        self.server.hangups.forget(self.socket.fileno())
        hijacked = Hijacked(self.socket.dup(), leftover, upgraded)
        self._hijacked = True
        self.transport.abort()  # closes its own descriptor only: the connection lives on in the duplicate
        return hijacked

    async def tunnel(
        self, header: bytes, upgraded: bool, leftover: bytes, codec: upgrade.Codec | None = None
    ) -> Hijacked:
        """As `leave`, but what is given away is a socketpair's end, as the bytes have to be translated on their way."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.write(header)
        self._hijacked = True
        self._tunnel = Tunnel(self.transport, codec)
        await self._tunnel.open(ours, self._congested)
        if leftover:
            self._tunnel.from_client(leftover)
        if self._ended:
            self._tunnel.client_ended()
        self._reading = False
        self._resume_reading()
        return Hijacked(theirs, b"", upgraded)

    async def _quiet(self) -> bytes:
        """Read the request to its end, stop reading, and return what came after it."""
        while await self.receive():
            pass
        self._pause_reading()
        return self.http.behind

    async def leave_translated(self, header: bytes, codec: upgrade.Codec) -> Hijacked:
        """Send `header`, then translate by `codec` between the client and the socket that is returned."""
        return await self.tunnel(header, True, await self._quiet(), codec)
