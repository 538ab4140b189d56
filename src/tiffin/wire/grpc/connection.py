"""Calls on an HTTP/2 connection, as gRPC makes them, in the server's or the client's role."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

from h2 import errors as codes
from h2 import events
from h2.exceptions import H2Error, ProtocolError

from tiffin.wire.grpc.framing import encode_text, parse_timeout
from tiffin.wire.grpc.link import STREAMS, Link
from tiffin.wire.grpc.status import Code, StatusError, encode_details
from tiffin.wire.grpc.stream import Metadata, Stream

log = logging.getLogger(__name__)

Handler = Callable[[Stream], Awaitable[None]]
"""Serves one call. Raises StatusError to end it with an error; anything else becomes INTERNAL."""

RESETS = 1000
"""Calls that may be begun and broken off at once, in excess of those that ran to their end."""

_REASONS = {
    codes.ErrorCodes.CANCEL: Code.CANCELLED,
    codes.ErrorCodes.REFUSED_STREAM: Code.UNAVAILABLE,
    codes.ErrorCodes.ENHANCE_YOUR_CALM: Code.RESOURCE_EXHAUSTED,
    codes.ErrorCodes.INADEQUATE_SECURITY: Code.PERMISSION_DENIED,
}


class Connection(Link):
    """Serves calls with `handler` in the server's role; makes them with `call` in the client's."""

    def __init__(self, *, handler: Handler | None = None) -> None:
        super().__init__(is_client=handler is None)
        self._handler = handler
        self._streams: dict[int, Stream] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._broken_off = 0
        self._room = asyncio.Event()

    async def wait_closed(self) -> None:
        """Until the connection is closed and every handler has ended."""
        await self._closed.wait()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    def ended(self, why: str) -> None:
        """Every call fails, every handler is cancelled."""
        for stream in list(self._streams.values()):
            stream.fail(StatusError(Code.UNAVAILABLE, why))
        self._streams.clear()
        for task in list(self._tasks.values()):
            task.cancel()
        self._room.set()

    # Events

    def take(self, event: events.Event) -> None:
        if isinstance(event, events.DataReceived):
            self._data(event)
        elif isinstance(event, events.RequestReceived):
            self._request(event)
        elif isinstance(event, events.ResponseReceived | events.TrailersReceived):
            stream = self._streams.get(_number(event.stream_id))
            if stream is not None:
                stream.finish(_texts(event.headers))
        elif isinstance(event, events.StreamEnded):
            self._end(_number(event.stream_id))
        elif isinstance(event, events.StreamReset):
            self._reset(_number(event.stream_id), event.error_code)
        elif isinstance(event, events.WindowUpdated | events.RemoteSettingsChanged):
            self._room.set()
        elif isinstance(event, events.ConnectionTerminated):
            self._terminated(event)

    def _request(self, event: events.RequestReceived) -> None:
        number = _number(event.stream_id)
        if self._broken_off > RESETS or len(self._tasks) >= 2 * STREAMS:
            # begun and broken off without end: work for us, none for the other side
            raise ProtocolError("too many calls were broken off")
        stream = Stream(self, number, _texts(event.headers))
        self._streams[number] = stream
        task = asyncio.get_running_loop().create_task(self._serve(stream))
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    def _data(self, event: events.DataReceived) -> None:
        number, flow = _number(event.stream_id), event.flow_controlled_length or 0
        stream = self._streams.get(number)
        if stream is None:
            self.acknowledge(number, flow)
            return
        try:
            stream.feed(event.data or b"", flow)
        except StatusError as error:
            stream.fail(error)
            self.acknowledge(number, stream.take_owed())
            if self.is_client:
                self.reset(stream)

    def _end(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None:
            if self.is_client:
                stream.require_status()
                self._forget(stream)
            stream.close()

    def _reset(self, number: int, reason: int | None) -> None:
        stream = self._streams.get(number)
        task = self._tasks.get(number)
        if stream is not None:
            code = _REASONS.get(codes.ErrorCodes(reason) if reason in _KNOWN else None, Code.UNAVAILABLE)  # type: ignore[arg-type]
            stream.fail(StatusError(code, "the call was cancelled by the other side"))
            self._forget(stream)
        if task is not None:
            self._broken_off += 1
            task.cancel()
        self._room.set()

    def _terminated(self, event: events.ConnectionTerminated) -> None:
        text = (event.additional_data or b"").decode("utf-8", "replace")
        last = event.last_stream_id or 0
        for stream in [one for one in self._streams.values() if self.is_client and one.number > last]:
            stream.fail(StatusError(Code.UNAVAILABLE, f"the other side is closing the connection {text}".rstrip()))
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        self._streams.pop(stream.number, None)
        self.acknowledge(stream.number, stream.take_owed())

    # The server's role

    async def _serve(self, stream: Stream) -> None:
        trailers: Metadata
        try:
            seconds = parse_timeout(stream.value("grpc-timeout"))
            async with asyncio.timeout(seconds):
                self._send_headers(stream.number, [(":status", "200"), ("content-type", "application/grpc")])
                assert self._handler is not None
                await self._handler(stream)
            trailers = [("grpc-status", "0")]
            self._broken_off = max(0, self._broken_off - 1)
        except TimeoutError:
            trailers = _trailers(StatusError(Code.DEADLINE_EXCEEDED, "context deadline exceeded"))
        except StatusError as error:
            trailers = _trailers(error)
        except Exception as error:
            log.error("%s failed", stream.path, exc_info=error)
            trailers = _trailers(StatusError(Code.INTERNAL, str(error) or type(error).__name__))
        finally:
            self._forget(stream)
        self._finish(stream, trailers)

    def _finish(self, stream: Stream, trailers: Metadata) -> None:
        try:
            self._h2.send_headers(stream.number, trailers, end_stream=True)
            if not self._h2.streams[stream.number].closed:
                # the client may still be sending what nobody reads
                self._h2.reset_stream(stream.number, codes.ErrorCodes.NO_ERROR)
        except (H2Error, KeyError):
            pass
        self.flush_soon()

    # The client's role

    def call(self, path: str, metadata: Metadata | None = None) -> Stream:
        """Begin a call. Raises StatusError when the connection is closed."""
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *(metadata or []),
        ]
        if self.closed or self._transport is None or self._transport.is_closing():
            raise StatusError(Code.UNAVAILABLE, "the connection was closed")
        try:
            number = self._h2.get_next_available_stream_id()
            stream = Stream(self, number, headers)
            self._streams[number] = stream
            self._send_headers(number, headers)
        except H2Error as error:
            raise StatusError(Code.UNAVAILABLE, f"a call can't be begun: {error}") from error
        return stream

    async def unary(self, path: str, message: bytes, metadata: Metadata | None = None) -> bytes:
        """One message there, one back. Raises StatusError."""
        stream = self.call(path, metadata)
        try:
            try:
                await stream.send(message)
                await stream.end()
            except StatusError:
                pass  # what is received says why
            answer = await stream.receive_one()
            while await stream.receive() is not None:
                pass
            return answer
        finally:
            self.reset(stream)

    # What streams do

    async def send(self, stream: Stream, data: bytes, *, end: bool = False) -> None:
        """Send as the windows of stream and connection allow. Raises StatusError when the call is over."""
        view = memoryview(data)
        while True:
            if self.closed or stream.failure is not None:
                raise stream.failure or StatusError(Code.UNAVAILABLE, "the connection was closed")
            try:
                room = min(self._h2.local_flow_control_window(stream.number), self._h2.max_outbound_frame_size)
                if len(view) == 0 or room > 0:
                    piece, view = view[:room], view[room:]
                    last = end and len(view) == 0
                    self._h2.send_data(stream.number, bytes(piece), end_stream=last)
                    stream.sent_end = last
                    self.flush_soon(len(piece))
            except (H2Error, KeyError) as error:
                raise stream.failure or StatusError(Code.CANCELLED, "the call is over") from error
            if len(view) == 0:
                break
            if room <= 0:
                self._room.clear()
                await self._room.wait()
            await self.drain()
        await self.drain()

    def acknowledge(self, number: int, size: int) -> None:
        """Let the other side send as much more."""
        if size:
            try:
                self._h2.acknowledge_received_data(size, number)
            except (H2Error, KeyError):
                return
            self.flush_soon()

    def reset(self, stream: Stream) -> None:
        """Break a call off, if it is not over."""
        if self._streams.pop(stream.number, None) is not None:
            stream.fail(StatusError(Code.CANCELLED, "the call was cancelled"))
            self.acknowledge(stream.number, stream.take_owed())
            try:
                self._h2.reset_stream(stream.number, codes.ErrorCodes.CANCEL)
            except (H2Error, KeyError):
                return
            self.flush_soon()

    # Bytes

    def _send_headers(self, number: int, headers: Metadata) -> None:
        try:
            self._h2.send_headers(number, headers)
        except (ProtocolError, KeyError) as error:
            raise StatusError(Code.CANCELLED, "the call is over") from error
        self.flush_soon()


_KNOWN = frozenset(int(code) for code in codes.ErrorCodes)


def _number(value: int | None) -> int:
    return value or 0


def _texts(headers: object) -> Metadata:
    pairs = cast("list[tuple[str, str]]", headers or [])
    return [(str(name), str(value)) for name, value in pairs]


def _trailers(error: StatusError) -> Metadata:
    trailers = [("grpc-status", str(int(error.code))), ("grpc-message", encode_text(error.message))]
    details = encode_details(error)
    return [*trailers, ("grpc-status-details-bin", details)] if details else trailers
