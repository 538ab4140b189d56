"""The daemon's channel to a monitor: what it does with descriptors when the monitor goes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from typing import Any

import pytest

from tiffin.runtime import channel
from tiffin.runtime.link import Connection, Refused


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


class Heard(list[str]):
    """The names of the events that came."""

    def __init__(self) -> None:
        super().__init__()
        self.some = asyncio.Event()

    def __call__(self, name: str, payload: dict[str, Any], attached: list[int]) -> None:
        self.append(name)
        self.some.set()


def linked() -> tuple[Connection, socket.socket, Heard]:
    """A channel, its far end, and the events that come."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    seen = Heard()
    return Connection(ours, seen), theirs, seen


def test_what_could_not_be_sent_is_closed_with_the_channel() -> None:
    async def body() -> None:
        link, theirs, seen = linked()
        clients = []
        for _ in range(2000):  # more than the socket holds: the last wait in a queue
            ours, other = socket.socketpair()
            clients.append(ours)
            link.tell("attach", {"filler": b"x" * 4096}, (other.detach(),))
            if link._unsent:
                break
        assert link._unsent
        theirs.close()
        with pytest.raises(Refused):
            await link.ask("attach", {})
        assert seen == ["closed"]
        for client in clients:
            with client:
                assert client.recv(1) == b""

    run(body())


def test_who_asks_a_channel_that_is_closed_gives_his_descriptors_away_all_the_same() -> None:
    async def body() -> None:
        link, theirs, _ = linked()
        link.close()
        theirs.close()
        for send in (link.ask, link.tell):
            ours, other = socket.socketpair()
            with ours:
                try:
                    sent = send("attach", {}, (other.detach(),))
                    if sent is not None:
                        await sent
                except Refused:
                    pass
                assert ours.recv(1) == b""

    run(body())


def test_the_number_of_a_channel_that_was_closed_is_read_from_again() -> None:
    async def body() -> None:
        for _ in range(3):
            link, theirs, seen = linked()
            channel.send(theirs, (0, "sandbox", {}))
            await seen.some.wait()
            assert seen == ["sandbox"]
            number = link._sock.fileno()
            link.close()
            theirs.close()
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(number)

    run(body())


def test_what_the_other_end_said_is_heard_though_it_read_nothing_any_more() -> None:
    async def body() -> None:
        for late in (False, True):  # something is sent to it before it leaves, or after
            link, theirs, seen = linked()
            if not late:
                link.tell("go", {})
            channel.send(theirs, (0, "failed", {}), ())
            theirs.close()
            if late:
                link.tell("go", {})
            while link.open:
                await seen.some.wait()
                seen.some.clear()
            assert seen == ["failed", "closed"]

    run(body())
