"""Parts of files to a client: by sendfile(2) where the connection is plain, read and encrypted where it is not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import BinaryIO

from tiffin.http.errors import ClientGone
from tiffin.http.tls import Tls

_SLICE = 4 << 20
_AHEAD = 16 << 20
_PIECE = 256 << 10

SLICE_SECONDS = 120.0
"""A client that takes less than a slice in this time is given up: 35 kB/s."""


async def send(
    transport: asyncio.Transport, drain: Callable[[], Awaitable[None]], file: BinaryIO, offset: int, count: int
) -> AsyncIterator[int]:
    """Send `count` bytes from `offset` on; yields what went out, slice by slice. Raises ClientGone.

    What is not in memory is read ahead, by a thread: the event loop is not to wait for the disk.
    """
    one = _encrypted if isinstance(transport, Tls) else _plain
    end = offset + count
    asked = offset  # of the kernel, up to here
    while offset < end:
        size = min(_SLICE, end - offset)
        if asked > offset or not _in_memory(file, offset, size):
            begin, asked = max(asked, offset), min(offset + _AHEAD, end)
            await asyncio.to_thread(_prefetch, file, begin, asked - begin, offset)
        try:
            async with asyncio.timeout(SLICE_SECONDS):
                sent = await one(transport, drain, file, offset, size)
        except (TimeoutError, ConnectionError, RuntimeError) as error:  # asyncio: RuntimeError for a closing transport
            raise ClientGone from error
        if sent != size:
            raise ClientGone  # a file that has shrunk: the client sees an answer that is not whole
        yield sent
        offset += sent


def _in_memory(file: BinaryIO, offset: int, count: int) -> bool:
    """Whether both ends of a slice can be read without waiting (preadv2(2), RWF_NOWAIT)."""
    try:
        for place in (offset, offset + count - 1):
            os.preadv(file.fileno(), [bytearray(1)], place, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError:  # a file system that can't tell
        return True
    return True


def _prefetch(file: BinaryIO, begin: int, count: int, wanted: int) -> None:
    """Begin to read a part; return when the slice that is wanted now is there."""
    os.posix_fadvise(file.fileno(), begin, count, os.POSIX_FADV_WILLNEED)
    for place in range(wanted, wanted + _SLICE, _PIECE):
        os.pread(file.fileno(), 1, place)


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
