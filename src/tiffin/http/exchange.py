"""One request and its answer on a connection."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import unquote

import h11

from tiffin.errors import Invalid, TiffinError
from tiffin.http import errors, response, upgrade, websocket
from tiffin.http.errors import ClientGone
from tiffin.http.hijack import Hijacked
from tiffin.http.lending import Lent
from tiffin.http.request import Query, Request
from tiffin.http.response import File, Response
from tiffin.http.router import Route

if TYPE_CHECKING:
    from tiffin.http.connection import Connection

log = logging.getLogger(__name__)

_SLICE = 256 << 10
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_date = (0, b"")


class Exchange:
    """Routes a request, runs its handler, sends what it returns."""

    def __init__(self, connection: Connection, head: h11.Request) -> None:
        self._connection = connection
        self._head = head
        self._method = head.method.decode()
        self._route: Route | None = None
        self._left = False
        self._upgrades = False
        self.streaming = False
        """Whether the answer is a stream, which ends when nobody listens."""
        self._sent = 0

    def unwanted(self) -> bool:
        """Whether to stop, now that the client is gone."""
        return self.streaming or self._route is None or self._route.cancel

    async def run(self) -> None:
        """From the request to the last byte of the answer."""
        began = time.perf_counter()
        try:
            answer = await self._handle()
        except ClientGone:
            raise
        except Exception as error:
            answer = self._explain(error)
        if answer is None or self._left:
            return
        try:
            await self._send(answer)
        finally:
            if answer.after is not None:
                answer.after(self._sent)
            if log.isEnabledFor(logging.DEBUG):
                spent = (time.perf_counter() - began) * 1000
                log.debug("%s %s %d %.1f ms", self._method, self._head.target.decode(), answer.status, spent)

    async def _handle(self) -> Response | None:
        path, _, query = self._head.target.decode("ascii").partition("?")
        headers = _headers(self._head)
        self._upgrades = "upgrade" in headers
        self._route, parameters, path, version = self._connection.server.router.resolve(
            self._method, unquote(path, errors="strict") if "%" in path else path
        )
        request = Request(
            self._method,
            path,
            headers,
            Query.of(query) if query else Query(),
            version,
            self._connection.server.services,
            self,
            parameters,
        )
        return await self._route.handler(request)

    def _explain(self, error: Exception) -> Response:
        status = errors.status(error)
        if isinstance(error, UnicodeError):
            status, error = 400, Invalid("the path is not UTF-8")
        if status == 500 and not isinstance(error, TiffinError):
            log.error("%s %s failed", self._method, self._head.target.decode(), exc_info=error)
        if status == 304:
            return response.empty(304)
        return Response(status, errors.body(error), response.JSON)

    # What the handler may ask of the connection

    @property
    def peer(self) -> str:
        """The client's address, empty on a unix socket."""
        address = self._connection.transport.get_extra_info("peername")
        return str(address[0]) if isinstance(address, tuple) else ""

    async def receive(self) -> bytes:
        """The next piece of the body."""
        return await self._connection.receive()

    def lend(self) -> Lent | None:
        """The body, for a thread to read by itself where that can be."""
        return self._connection.lend()

    async def hijack(self, content_type: str, protocol: str) -> Hijacked:
        """Answer 101, or a raw 200 to a client that did not ask to upgrade, and give the socket away."""
        header = upgrade.switching(content_type, protocol) if self._upgrades else upgrade.raw_stream(content_type)
        hijacked = await self._connection.leave(header, self._upgrades)
        self._left = True
        return hijacked

    async def websocket(self) -> Hijacked:
        """Answer the WebSocket handshake and give one end of a translating pair away."""
        header = websocket.handshake(_headers(self._head))
        hijacked = await self._connection.leave_translated(header, websocket.Frames())
        self._left = True
        return hijacked

    # Sending

    async def _send(self, answer: Response) -> None:
        if isinstance(answer.body, bytes):
            await self._send_whole(answer, answer.body)
        elif isinstance(answer.body, File):
            await self._send_file(answer, answer.body)
        else:
            await self._send_stream(answer, answer.body)
        await self._connection.drain()

    async def _send_whole(self, answer: Response, body: bytes) -> None:
        http = self._connection.http
        head = self._header(answer)
        if answer.status not in (204, 304):
            head.append((b"Content-Length", b"%d" % len(body)))
        self._announce_end(head)
        pieces = [http.head(answer.status, head)]
        if body and self._method != "HEAD" and answer.status not in (204, 304):
            pieces.append(http.data(body))
        pieces.append(http.end())
        data = b"".join(pieces)
        for start in range(0, len(data), _SLICE):
            self._connection.write(data[start : start + _SLICE])
            await self._connection.drain()
        self._sent += len(body) if self._method != "HEAD" else 0

    def _announce_end(self, head: list[tuple[bytes, bytes]]) -> None:
        if not self._connection.body_complete or self._connection.server.closing:
            head.append((b"Connection", b"close"))

    async def _send_file(self, answer: Response, part: File) -> None:
        self.streaming = True
        http = self._connection.http
        head = [*self._header(answer), (b"Content-Length", b"%d" % part.length)]
        self._announce_end(head)
        try:
            self._connection.write(http.head(answer.status, head))
            if self._method != "HEAD" and part.length:
                http.passed(part.length, part)
                async for count in self._connection.send_file(part.file, part.offset, part.length):
                    self._sent += count
            http.end()
        finally:
            part.file.close()

    async def _send_stream(self, answer: Response, pieces: AsyncIterator[bytes]) -> None:
        self.streaming = True
        async with contextlib.aclosing(_Closing(pieces)):
            first = b""
            if answer.hold:
                try:
                    first = await anext(pieces, b"")
                except ClientGone:
                    raise
                except Exception as error:
                    self.streaming = False
                    whole = self._explain(error)
                    await self._send_whole(whole, whole.body if isinstance(whole.body, bytes) else b"")
                    return
            http = self._connection.http
            head = self._header(answer)
            if answer.length is not None:
                head.append((b"Content-Length", b"%d" % answer.length))
            self._connection.write(http.head(answer.status, head))
            if self._method != "HEAD":
                try:
                    await self._send_pieces(first, pieces)
                except ClientGone:
                    raise
                except Exception as error:
                    trace = None if isinstance(error, TiffinError) else error
                    log.error("%s %s broke off: %s", self._method, self._head.target.decode(), error, exc_info=trace)
                    raise ClientGone from error
            self._connection.write(http.end())

    async def _send_pieces(self, first: bytes, pieces: AsyncIterator[bytes]) -> None:
        if first:
            await self._send_piece(first)
        async for piece in pieces:
            if piece:
                await self._send_piece(piece)

    async def _send_piece(self, piece: bytes) -> None:
        http = self._connection.http
        for start in range(0, len(piece), _SLICE):
            data = piece[start : start + _SLICE] if len(piece) > _SLICE else piece
            self._connection.write(http.data(data))
            self._sent += len(data)
            await self._connection.drain()

    def _header(self, answer: Response) -> list[tuple[bytes, bytes]]:
        head = [*self._connection.server.headers, (b"Date", _now())]
        if answer.content_type is not None:
            head.append((b"Content-Type", answer.content_type.encode()))
        head += [(name.encode(), value.encode("utf-8")) for name, value in answer.headers.items()]
        return head


class _Closing:
    """Closes an async iterator if it is a generator; others have nothing to close."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    async def aclose(self) -> None:
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()


def _headers(head: h11.Request) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _now() -> bytes:
    global _date
    second = int(time.time())
    if _date[0] != second:
        # email.utils.formatdate would do, and import ten modules
        when = time.gmtime(second)
        text = f"{_DAYS[when.tm_wday]}, %d {_MONTHS[when.tm_mon - 1]} %Y %H:%M:%S GMT"
        _date = (second, time.strftime(text, when).encode())
    return _date[1]
