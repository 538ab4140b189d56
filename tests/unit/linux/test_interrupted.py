"""A signal during a system call does not end it: a monitor's children end while it moves their last output."""

import os
import signal
from collections.abc import Iterator

import pytest

from tiffin.linux import fds


@pytest.fixture
def on_alarm() -> Iterator[list[object]]:
    """What to call, once each, when SIGALRM comes is appended."""
    calls: list[object] = []
    before = signal.signal(signal.SIGALRM, lambda *_: [calls.pop()() for _ in tuple(calls)])  # type: ignore[operator]
    yield calls
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_output_is_moved_though_a_signal_comes_while_it_is_waited_for(on_alarm: list[object]) -> None:
    reading, writing = os.pipe()
    target = os.memfd_create("moved")
    on_alarm.append(lambda: os.write(writing, b"last words\n"))
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)  # one that comes right before the system call does not end it
    assert fds.splice(reading, target, 4096, 0) == 11
    assert os.pread(target, 4096, 0) == b"last words\n"
    for fd in (reading, writing, target):
        os.close(fd)
