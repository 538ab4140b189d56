"""Names are answered over restarts and kills of the daemon: late at worst, never not at all."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest

from faults.inventory import settled
from rig import Engine
from rig.netns import in_thread
from rig.waiting import PATIENCE
from tiffin.linux.namespaces import CLONE_NEWNET, setns

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

SERVER = ("127.0.0.11", 53)
EVERY = 0.1  # seconds between questions; the socket holds some 250 of them while nobody reads it


def socket_inside(pid: int) -> socket.socket:
    """A datagram socket in a container's network namespace."""

    def make() -> socket.socket:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        setns(namespace, CLONE_NEWNET)
        os.close(namespace)
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    return in_thread(make)


def question(number: int, name: str) -> bytes:
    """A, with this id."""
    return struct.pack("!6H", number, 0x100, 1, 0, 0, 0) + bytes((len(name),)) + name.encode() + b"\0\0\1\0\1"


class Asking:
    """A client that asks for one name again and again, each question once; when each was asked and answered."""

    def __init__(self, inside: socket.socket, name: str) -> None:
        self.asked: dict[int, float] = {}
        self.answered: dict[int, float] = {}
        self._socket, self._name, self._done = inside, name, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number, following = 0, time.monotonic()
        while not self._done.is_set() or len(self.answered) < len(self.asked):
            now = time.monotonic()
            if self._done.is_set() and now - following > 30 * PATIENCE:
                return
            if not self._done.is_set() and now >= following:
                number, following = number + 1, now + EVERY
                self.asked[number] = now
                self._socket.sendto(question(number, self._name), SERVER)
            if select.select([self._socket], [], [], EVERY / 2)[0]:
                reply = self._socket.recv(512)
                number_, flags, _, records = struct.unpack("!4H", reply[:8])
                if flags & 15 == 0 and records == 1:
                    self.answered[number_] = time.monotonic()

    def end(self) -> None:
        """Ask no more; returns when everything is answered, or 30 s later."""
        self._done.set()
        self._thread.join()


def outlast(engine: Engine, number: int, times: int) -> tuple[Asking, list[tuple[float, float]]]:
    """A client's questions while the daemon is ended by a signal and started again, and when it was away."""
    api = settled(engine)
    api.ask("POST", "/networks/create", {"Name": "net"})
    container = api.run("sleep", "100000", name="web", NetworkMode="net")
    outages = []
    with socket_inside(api.state(container)["Pid"]) as inside:
        asking = Asking(inside, "web")
        try:
            for _ in range(times):
                time.sleep(3 * EVERY)
                away = time.monotonic()
                engine.restart(number)
                outages.append((away, time.monotonic()))
            time.sleep(3 * EVERY)
        finally:
            asking.end()
    return asking, outages


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_question_is_lost_while_the_daemon_is_away(start_engine: Callable[..., Engine], number: int) -> None:
    asking, _ = outlast(start_engine(), number, 2)
    assert len(asking.asked) > 10
    assert not set(asking.asked) - set(asking.answered)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_answer_is_a_second_later_than_the_daemon(start_engine: Callable[..., Engine], number: int) -> None:
    asking, outages = outlast(start_engine(), number, 10)
    late = []
    for one, asked in asking.asked.items():
        answered = asking.answered[one]
        due = next((back for away, back in outages if asked <= back and away <= answered), asked)
        late.append(answered - due)
    print(f"latest answer: {max(late):.3f} s; away: {max(back - away for away, back in outages):.3f} s")
    assert max(late) < 1.0 * PATIENCE
