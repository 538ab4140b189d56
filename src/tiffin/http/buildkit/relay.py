"""A socket's bytes as messages of a call: ssh agents, and sessions that come through /grpc."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from tiffin.wire.grpc.status import StatusError
from tiffin.wire.grpc.stream import Stream

_PIECE = 32 << 10


async def relay(stream: Stream, connection: socket.socket, kind: Any) -> None:
    """Both directions, until the call's other side has ended. `kind` has a field `data`. Closes the socket."""
    connection.setblocking(False)
    loop = asyncio.get_running_loop()

    async def outwards() -> None:
        while data := await loop.sock_recv(connection, _PIECE):
            await stream.send(kind(data=data).SerializeToString())
        if not stream.is_server:
            await stream.end()

    async def inwards() -> None:
        async for data in stream:
            await loop.sock_sendall(connection, kind.FromString(data).data)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)

    tasks = [asyncio.ensure_future(outwards()), asyncio.ensure_future(inwards())]
    try:
        with contextlib.suppress(StatusError, OSError):
            # an end of ours only lets the last answer through; an end of theirs is the end
            await tasks[1]
            if stream.is_server:
                await tasks[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        connection.close()
