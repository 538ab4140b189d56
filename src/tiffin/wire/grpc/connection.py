"""HTTP/2 by h2 on an asyncio transport, as gRPC uses it, in the server's or the client's role."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import cast

from h2 import errors as codes
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import H2Error, ProtocolError
from h2.settings import SettingCodes, Settings

from tiffin.wire.grpc.framing import encode_text, parse_timeout
from tiffin.wire.grpc.status import Code, StatusError, encode_details
from tiffin.wire.grpc.stream import Metadata, Stream

log = logging.getLogger(__name__)

# at debug level it writes every header twice, credentials included
logging.getLogger("hpack").setLevel(logging.WARNING)

Handler = Callable[[Stream], Awaitable[None]]
"""Serves one call. Raises StatusError to end it with an error; anything else becomes INTERNAL."""

STREAMS = 256
"""Calls that the other side may have open."""

WINDOW = 4 << 20
"""Bytes that a stream may have in flight to us; four times as many on the connection."""

FRAME = 256 << 10
UNSENT = 4 << 20
"""Bytes that wait for a client that does not read; above them the connection is given up."""

RESETS = 1000
"""Calls that may be begun and broken off at once, in excess of those that ran to their end."""

PING_SECONDS = 20.0
PING_PATIENCE = 60.0

_REASONS = {
    codes.ErrorCodes.CANCEL: Code.CANCELLED,
    codes.ErrorCodes.REFUSED_STREAM: Code.UNAVAILABLE,
    codes.ErrorCodes.ENHANCE_YOUR_CALM: Code.RESOURCE_EXHAUSTED,
    codes.ErrorCodes.INADEQUATE_SECURITY: Code.PERMISSION_DENIED,
}


class Connection(asyncio.Protocol):
    """Serves calls with `handler` in the server's role; makes them with `call` in the client's."""

    def __init__(self, *, handler: Handler | None = None) -> None:
        self.is_client = handler is None
        self._handler = handler
        configuration = H2Configuration(client_side=self.is_client, header_encoding="utf-8")
        self._h2 = H2Connection(configuration)
        self._streams: dict[int, Stream] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._broken_off = 0
        self._transport: asyncio.Transport | None = None
        self._writable: asyncio.Future[None] | None = None
        self._congested = False
        self._room = asyncio.Event()
        self._closed = asyncio.Event()
        self._pinger: asyncio.TimerHandle | None = None
        self._heard = 0.0

    # Life

    async def open(self, sock: socket.socket, leftover: bytes = b"") -> None:
        """Begin on a connected socket, which becomes the connection's; `leftover` was read from it already."""
        sock.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=sock)
        if leftover:
            self.data_received(leftover)

    async def wait_closed(self) -> None:
        """Until the connection is closed and every handler has ended."""
        await self._closed.wait()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        """End the connection, telling the other side."""
        if self._transport is not None and not self._transport.is_closing():
            try:
                self._h2.close_connection()
                self._flush()
            except H2Error:
                pass
            self._transport.close()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        values: dict[SettingCodes, int] = {
            SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
            SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
            SettingCodes.MAX_FRAME_SIZE: FRAME,
            SettingCodes.MAX_HEADER_LIST_SIZE: 1 << 20,
            SettingCodes.ENABLE_PUSH: 0,
        }
        # these go out with the preface; update_settings would send them before it
        self._h2.local_settings = Settings(client=self.is_client, initial_values=values)
        self._h2.max_inbound_frame_size = FRAME
        self._h2.decoder.max_header_list_size = values[SettingCodes.MAX_HEADER_LIST_SIZE]
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(4 * WINDOW - 65535)
        self._flush()
        self._heard = asyncio.get_running_loop().time()
        self._schedule_ping()

    def data_received(self, data: bytes) -> None:
        self._heard = asyncio.get_running_loop().time()
        try:
            for event in self._h2.receive_data(data):
                self._take(event)
        except (ProtocolError, UnicodeDecodeError) as error:
            log.debug("the other side does not speak HTTP/2: %s", error)
            self._abandon(f"protocol error: {error}")
            return
        self._flush()

    def pause_writing(self) -> None:
        self._congested = True

    def resume_writing(self) -> None:
        self._congested = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._pinger is not None:
            self._pinger.cancel()
        for stream in list(self._streams.values()):
            stream.fail(StatusError(Code.UNAVAILABLE, "the connection was closed"))
        for task in list(self._tasks.values()):
            task.cancel()
        self._streams.clear()
        self._closed.set()
        self._changed()
        self.resume_writing()

    # Events

    def _take(self, event: events.Event) -> None:
        if isinstance(event, events.DataReceived):
            self._data(event)
        elif isinstance(event, events.RequestReceived):
            self._request(event)
        elif isinstance(event, events.ResponseReceived | events.TrailersReceived):
            stream = self._streams.get(_number(event.stream_id))
            if stream is not None:
                stream.finish(_texts(event.headers))
        elif isinstance(event, events.StreamEnded):
            self._ended(_number(event.stream_id))
        elif isinstance(event, events.StreamReset):
            self._reset(_number(event.stream_id), event.error_code)
        elif isinstance(event, events.WindowUpdated | events.RemoteSettingsChanged):
            self._changed()
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

    def _ended(self, number: int) -> None:
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
        self._changed()

    def _terminated(self, event: events.ConnectionTerminated) -> None:
        text = (event.additional_data or b"").decode("utf-8", "replace")
        last = event.last_stream_id or 0
        for stream in [one for one in self._streams.values() if self.is_client and one.number > last]:
            stream.fail(StatusError(Code.UNAVAILABLE, f"the other side is closing the connection {text}".rstrip()))
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        self._streams.pop(stream.number, None)
        self.acknowledge(stream.number, stream.take_owed())

    def _abandon(self, why: str) -> None:
        if self._transport is not None and not self._transport.is_closing():
            for stream in list(self._streams.values()):
                stream.fail(StatusError(Code.UNAVAILABLE, why))
            self._flush()
            self._transport.close()

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
        self._flush()

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
                    self._flush()
            except (H2Error, KeyError) as error:
                raise stream.failure or StatusError(Code.CANCELLED, "the call is over") from error
            if len(view) == 0:
                break
            if room <= 0:
                self._room.clear()
                await self._room.wait()
            await self._drain()
        await self._drain()

    def acknowledge(self, number: int, size: int) -> None:
        """Let the other side send as much more."""
        if size:
            try:
                self._h2.acknowledge_received_data(size, number)
            except (H2Error, KeyError):
                return
            self._flush()

    def reset(self, stream: Stream) -> None:
        """Break a call off, if it is not over."""
        if self._streams.pop(stream.number, None) is not None:
            stream.fail(StatusError(Code.CANCELLED, "the call was cancelled"))
            self.acknowledge(stream.number, stream.take_owed())
            try:
                self._h2.reset_stream(stream.number, codes.ErrorCodes.CANCEL)
            except (H2Error, KeyError):
                return
            self._flush()

    # Bytes

    def _send_headers(self, number: int, headers: Metadata) -> None:
        try:
            self._h2.send_headers(number, headers)
        except (ProtocolError, KeyError) as error:
            raise StatusError(Code.CANCELLED, "the call is over") from error
        self._flush()

    def _flush(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        data = self._h2.data_to_send()
        if data:
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > UNSENT:
                self._transport.abort()

    async def _drain(self) -> None:
        while self._congested and not self.closed:
            if self._writable is None or self._writable.done():
                self._writable = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._writable)

    def _changed(self) -> None:
        self._room.set()

    def _schedule_ping(self) -> None:
        self._pinger = asyncio.get_running_loop().call_later(PING_SECONDS, self._ping)

    def _ping(self) -> None:
        """Notice a client that has stopped: its end would otherwise never come."""
        if self._transport is None or self._transport.is_closing():
            return
        silent = asyncio.get_running_loop().time() - self._heard
        if silent > PING_SECONDS + PING_PATIENCE:
            log.debug("the other side has not answered for %.0f seconds", silent)
            self._transport.abort()
            return
        self._h2.ping(b"tiffin..")
        self._flush()
        self._schedule_ping()


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
