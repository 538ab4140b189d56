"""Messages between our processes, at the moment in which the other end is closed."""

import os
import socket
from typing import Any, cast

import pytest

from tiffin.linux import fds


class Early:
    """A socket that was looked at before the last message was there, and asked whether it is closed after that.

    That is what Linux does for SEQPACKET: with a thread that sends and closes, and one that polls, 1 in 15,000 times.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.answers: list[tuple[Any, ...]] = [(b"", [], 0, None)]

    def recvmsg(self, *arguments: int) -> tuple[Any, ...]:
        return self.answers.pop() if self.answers else self.sock.recvmsg(*arguments)


@pytest.mark.parametrize("flags", [0, socket.MSG_DONTWAIT])
def test_a_message_right_before_the_end_is_received(flags: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reading, writing = os.pipe()
    fds.send(cast(Any, theirs), b"last words", (writing,))
    theirs.close()
    os.close(writing)
    channel = cast(Any, Early(ours))
    data, (received,) = fds.receive(channel, flags=flags)
    os.write(received, b"x")
    assert (data, os.read(reading, 1)) == (b"last words", b"x")
    assert fds.receive(channel, flags=flags) == (b"", [])
    for fd in (received, reading):
        os.close(fd)
    ours.close()
