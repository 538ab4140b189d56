"""kill -9 of the engine's own processes, under containers that write."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from faults.api import Api
from faults.counting import Counting, cycles
from faults.inventory import forkserver_of, inventory, monitor_of, nothing_more, settled
from rig import Engine, eventually

pytestmark = pytest.mark.root

GONE = (FileNotFoundError, ConnectionRefusedError, ProcessLookupError)


def some_time(random_source: random.Random) -> None:
    """The moment of the fault is what varies."""
    time.sleep(random_source.random() * 0.15)


def pair(api: Api, number: int) -> list[Counting]:
    """One container with pipes and one with a terminal; both on the bridge."""
    return [Counting.run(api, code=(number + shift) % 125, tty=tty) for shift, tty in ((1, False), (2, True))]


@pytest.mark.parametrize("count", cycles(4))
def test_a_killed_daemon_finds_its_containers_and_all_their_output(
    start_engine: Callable[..., Engine], count: int
) -> None:
    engine = start_engine()
    api = settled(engine)
    before = inventory(engine)
    source = random.Random(1)
    stays = api.run("sleep", "100000")
    since = api.state(stays)
    for number in range(count):
        containers = pair(api, number)
        some_time(source)
        engine.kill()
        some_time(source)
        engine.start()
        for one in containers:
            one.check()
            api.remove(one.id)
        assert api.state(stays)["Pid"] == since["Pid"], number
    assert api.state(stays)["StartedAt"] == since["StartedAt"]
    api.remove(stays, force=True)
    nothing_more(engine, before)


@pytest.mark.parametrize("count", cycles(6))
def test_killed_monitors_are_replaced_without_a_line_lost(start_engine: Callable[..., Engine], count: int) -> None:
    engine = start_engine()
    api = settled(engine)
    before = inventory(engine)
    source = random.Random(2)
    killed = 0
    for number in range(count):
        containers = pair(api, number)
        some_time(source)
        for one in containers:
            with contextlib.suppress(*GONE):  # it has ended before the fault came
                os.kill(monitor_of(engine, one.id), signal.SIGKILL)
                killed += 1
        for one in containers:
            one.check()
            api.remove(one.id)
    assert killed >= count
    nothing_more(engine, before)


@pytest.mark.parametrize("count", cycles(4))
def test_a_killed_forkserver_is_not_missed(start_engine: Callable[..., Engine], count: int) -> None:
    engine = start_engine()
    api = settled(engine)
    before = inventory(engine)
    source = random.Random(3)
    for number in range(count):
        first = pair(api, number)
        some_time(source)
        os.kill(forkserver_of(engine), signal.SIGKILL)
        second = pair(api, number)
        for one in (*first, *second):
            one.check()
            api.remove(one.id)
    nothing_more(engine, before)


@pytest.mark.parametrize("count", cycles(4))
def test_daemon_and_forkserver_killed_together_lose_no_container(
    start_engine: Callable[..., Engine], count: int
) -> None:
    engine = start_engine()
    api = settled(engine)
    before = inventory(engine)
    source = random.Random(4)
    for number in range(count):
        containers = pair(api, number)
        some_time(source)
        os.kill(forkserver_of(engine), signal.SIGKILL)
        engine.kill()
        some_time(source)
        engine.start()
        for one in containers:
            one.check()
            api.remove(one.id)
    nothing_more(engine, before)


@pytest.mark.parametrize("away", [False, True], ids=["daemon alive", "daemon killed too"])
@pytest.mark.parametrize("count", cycles(1))
def test_nothing_is_falsely_running_without_monitor_and_forkserver(
    start_engine: Callable[..., Engine], count: int, away: bool
) -> None:
    engine = start_engine()
    api = settled(engine)
    before = inventory(engine)
    source = random.Random(5)
    for number in range(count):
        containers = pair(api, number)
        pids = [api.state(one.id)["Pid"] for one in containers]
        some_time(source)
        if away:
            engine.kill()
        monitors = []
        for one in containers:
            with contextlib.suppress(*GONE):
                monitors.append(monitor_of(engine, one.id))
        for pid in (forkserver_of(engine), *monitors):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if away:
            engine.start()
        for one, pid in zip(containers, pids, strict=True):
            assert api.wait(one.id) in (one.code, 137)
            state = api.state(one.id)
            assert (state["Running"], state["Pid"]) == (False, 0)
            assert state["ExitCode"] == one.code or state["Error"], state
            eventually(lambda pid=pid: pid == 0 or not os.path.exists(f"/proc/{pid}"))  # type: ignore[misc]
            one.check_beginning()
            api.remove(one.id)
    nothing_more(engine, before)
