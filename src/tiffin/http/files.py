"""Parts of files to a client: by sendfile(2) where the connection is plain, read and encrypted where it is not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import BinaryIO

from tiffin.http.errors import ClientGone
from tiffin.http.tls import Tls

_SLICE = 4 << 20
_PIECE = 256 << 10

SLICE_SECONDS = 120.0
"""A client that takes less than a slice in this time is given up: 35 kB/s."""


async def send(
    transport: asyncio.Transport, drain: Callable[[], Awaitable[None]], file: BinaryIO, offset: int, count: int
) -> AsyncIterator[int]:
    """Send `count` bytes from `offset` on; yields what went out, slice by slice. Raises ClientGone.

    The kernel is told a slice ahead what will be wanted: the event loop is not to wait for the disk.
    """
    one = _encrypted if isinstance(transport, Tls) else _plain
    end = offset + count
    await asyncio.to_thread(_prefetch, file, offset, min(2 * _SLICE, count))
    while offset < end:
        size = min(_SLICE, end - offset)
        try:
            async with asyncio.timeout(SLICE_SECONDS):
                sent = await one(transport, drain, file, offset, size)
        except (TimeoutError, ConnectionError, RuntimeError) as error:  # asyncio: RuntimeError for a closing transport
            raise ClientGone from error
        if sent != size:
            raise ClientGone  # a file that has shrunk: the client sees an answer that is not whole
        yield sent
        offset += sent
        if offset + _SLICE < end:
            await asyncio.to_thread(_prefetch, file, offset + _SLICE, _SLICE)


def _prefetch(file: BinaryIO, offset: int, count: int) -> None:
    os.posix_fadvise(file.fileno(), offset, count, os.POSIX_FADV_WILLNEED)


async def _plain(
    transport: asyncio.Transport, drain: Callable[[], Awaitable[None]], file: BinaryIO, offset: int, count: int
) -> int:
    return await asyncio.get_running_loop().sendfile(transport, file, offset, count)


async def _encrypted(
    transport: asyncio.Transport, drain: Callable[[], Awaitable[None]], file: BinaryIO, offset: int, count: int
) -> int:
    sent = 0
    while sent < count:
        data = await asyncio.to_thread(os.pread, file.fileno(), min(_PIECE, count - sent), offset + sent)
        if not data:
            break
        if transport.is_closing():
            raise ClientGone
        transport.write(data)
        await drain()
        sent += len(data)
    return sent
