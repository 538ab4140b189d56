"""Blocking iterators as streams: they are closed once, by the thread that ran them, whenever the listener goes."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from tiffin.http.flows import outflow


def test_a_listener_that_goes_while_a_piece_is_made_closes_the_iterator_after_it() -> None:
    entered, release, closed = threading.Event(), threading.Event(), threading.Event()

    def pieces() -> Iterator[bytes]:
        try:
            entered.set()
            release.wait(30)
            yield b"late"
        finally:
            closed.set()

    async def listen() -> None:
        async for _ in outflow(pieces()):
            raise AssertionError("nobody listens any more")

    async def scenario() -> None:
        listener = asyncio.create_task(listen())
        await asyncio.to_thread(entered.wait, 30)
        listener.cancel()
        await asyncio.sleep(0)
        release.set()
        with contextlib.suppress(asyncio.CancelledError):
            await listener

    asyncio.run(scenario())
    assert closed.is_set()
