"""Bytes and messages between the event loop and worker threads, bounded both ways.

flow = Inflow(request)                       # a request's body as a file that a thread reads
lines = reporting(lambda report: images.load(flow, report=report), flow)
pieces = outflow(images.save(names))         # an iterator that a thread drives, as a response's stream
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from tiffin.engine.threads import in_thread
from tiffin.errors import Invalid
from tiffin.http.lending import Lent
from tiffin.http.pieces import Pieces
from tiffin.http.request import Request
from tiffin.linux import heap

T = TypeVar("T")
M = TypeVar("M")

_FULL = 4 << 20
_PIECE = 1 << 20


class Inflow:
    """A request's body, read from one thread. Reading slowly slows the client down; `close` ends a reader at once."""

    def __init__(self, request: Request) -> None:
        self._body = request.exchange.lend() or _Pumped(request)

    def read(self, size: int = -1, /) -> bytes:
        """Blocks for the next bytes; b"" at the end. Raises what broke the body off."""
        return self._body.read(size)

    async def close(self) -> None:
        """From the loop: stop taking the body; whoever still reads gets an error."""
        if isinstance(self._body, Lent):
            self._body.close()
        else:
            await self._body.close()


class _Pumped:
    """A body that the loop takes from the connection."""

    def __init__(self, request: Request) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces = Pieces()
        self._waiting = 0  # bytes
        self._changed = threading.Condition()
        self._room = asyncio.Event()
        self._ended = False
        self._error: BaseException | None = None
        self._task = asyncio.create_task(self._pump(request), name="request body")

    async def _pump(self, request: Request) -> None:
        try:
            async for piece in request.stream():
                with self._changed:
                    self._pieces.append(piece)
                    self._waiting += len(piece)
                    self._changed.notify()
                    full = self._waiting >= _FULL
                    if full:
                        self._room.clear()
                if full:
                    await self._room.wait()
        except asyncio.CancelledError:
            self._error = Invalid("the request was broken off before its body had ended")
            raise
        except Exception as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def read(self, size: int = -1, /) -> bytes:
        """Blocks for the next bytes; b"" at the end. Raises what broke the body off."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_PIECE), b""))
        with self._changed:
            while not self._pieces and not self._ended:
                self._changed.wait()
            if not self._pieces:
                if self._error is not None:
                    raise self._error
                return b""
            data = self._pieces.take(size)
            self._waiting -= len(data)
            if self._waiting < _FULL // 2:
                with suppress(RuntimeError):  # the loop has gone
                    self._loop.call_soon_threadsafe(self._room.set)
        return data

    async def close(self) -> None:
        """From the loop: stop taking the body; whoever still reads gets an error."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


async def reporting(work: Callable[[Callable[[M], None]], T], flow: Inflow | None = None) -> AsyncIterator[M | T]:
    """Run `work` in a thread; yields what it reports and at last what it returns, raises what it raises.

    When nobody listens any more the body is closed under it, and the work is waited for: it cleans up after itself.
    """
    loop = asyncio.get_running_loop()
    messages: asyncio.Queue[M | None] = asyncio.Queue()

    def report(message: M) -> None:
        loop.call_soon_threadsafe(messages.put_nowait, message)

    task = asyncio.create_task(in_thread(work, report))
    task.add_done_callback(lambda _: messages.put_nowait(None))
    try:
        while (message := await messages.get()) is not None:
            yield message
        yield await task
    finally:
        if flow is not None:
            await flow.close()
        if not task.done():
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # retrieved: it was raised above, or nobody is there to hear it
        heap.trim()  # an archive's buffers: a mebibyte or three that nobody needs until the next


async def outflow(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """A blocking iterator as a stream of pieces of about a MiB; the next is made while the last is sent.

    The iterator is closed in its thread when it ends or nobody listens any more.
    """

    def gather() -> bytes:
        parts: list[bytes] = []
        size = 0
        for piece in pieces:
            parts.append(piece)
            size += len(piece)
            if size >= _PIECE:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    pending = asyncio.create_task(in_thread(gather))
    try:
        while data := await asyncio.shield(pending):  # a cancelled listener must not hide a thread that still runs
            pending = asyncio.create_task(in_thread(gather))
            yield data
    finally:
        if not pending.done():
            await asyncio.wait([pending])
        if not pending.cancelled():
            pending.exception()
        close = getattr(pieces, "close", None)
        if close is not None:
            await in_thread(close)
