"""Many containers: what a thousand leave behind, how soon a hundred are found again, who was killed for memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from faults.counting import cycles
from faults.inventory import inventory, nothing_more, settled
from rig import Engine

pytestmark = pytest.mark.root


@pytest.mark.parametrize("count", cycles(40, 1000))
def test_containers_that_came_and_went_leave_the_machine_as_it_was(
    start_engine: Callable[..., Engine], count: int
) -> None:
    engine = start_engine()
    api = settled(engine)
    with ThreadPoolExecutor(10) as crowd:

        def live(number: int) -> None:
            ports = {
                "PortBindings": {"80/tcp": [{"HostPort": ""}], "53/udp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
            }
            container = api.create("sleep", "100000", tty=number % 3 == 0, Binds=["/anonymous"], **ports)
            api.start(container)
            if number % 2:
                api.ask("POST", f"/containers/{container}/stop", t=0)
                assert api.state(container)["ExitCode"] == 137
            api.remove(container, force=True)

        list(crowd.map(live, range(20)))  # threads, pools and caches are as large as they get
        before = inventory(engine)
        list(crowd.map(live, range(count)))
    nothing_more(engine, before)


def cpu_seconds(engine: Engine) -> float:
    """What the daemon has used so far."""
    assert engine.daemon is not None
    fields = Path(f"/proc/{engine.daemon.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_a_hundred_containers_are_found_again(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine()
    api = settled(engine)
    with ThreadPoolExecutor(4) as crowd:
        containers = list(crowd.map(lambda number: api.run("sleep", "100000"), range(100)))
    pids = {one: api.state(one)["Pid"] for one in containers}
    times, cpu = [], []
    for _ in range(5):
        engine.kill()
        began = time.monotonic()
        engine.start()
        times.append(time.monotonic() - began)
        cpu.append(cpu_seconds(engine))
        assert {one: api.state(one)["Pid"] for one in containers} == pids
    # shown with -s; a machine that is busy makes the first number anything
    print(f"ready again after {sorted(times)[2]:.2f} s, {sorted(cpu)[2]:.2f} s of CPU (medians of {len(times)})")
    for container in containers:
        api.remove(container, force=True)


@pytest.mark.parametrize("count", cycles(4, 100))
def test_only_who_was_killed_for_memory_says_so(start_engine: Callable[..., Engine], count: int) -> None:
    engine = start_engine()
    api = settled(engine)
    greedy = ["sh", "-c", "x=$(cat /dev/zero | tr '\\0' x); echo never"]
    for number in range(count):
        limit = {"Memory": 8 << 20, "MemorySwap": 8 << 20}
        killed, plain = api.run(*greedy, **limit), api.run("sh", "-c", "kill -9 $$", **limit)
        by_hand = api.run("sleep", "100000", **limit)
        api.ask("POST", f"/containers/{by_hand}/kill")
        found = {}
        for one in (killed, plain, by_hand):
            api.wait(one)
            found[one] = api.state(one)["OOMKilled"]
            api.remove(one)
        assert found == {killed: True, plain: False, by_hand: False}, number
