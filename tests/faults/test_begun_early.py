"""Containers that are to be removed at their end are begun when they are created: no fault shows that, nor a change."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from unittest.mock import AsyncMock

import pytest

from faults.api import Api
from faults.inventory import forkserver_of, inventory, monitor_of, nothing_more, settled
from kernel import launching, plans
from rig import Cli, Engine, eventually
from tiffin.engine import container_early, container_start
from tiffin.model.container_host import HostConfig
from unit.containers.specimens import container as specimen
from unit.engine.meeting import Meeting

pytestmark = pytest.mark.root
HOST = {"NetworkMode": "none", "AutoRemove": True}
LIMIT = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2> /dev/null || cat /sys/fs/cgroup/memory.max"


@pytest.fixture
def engine(start_engine: Callable[..., Engine]) -> Iterator[Engine]:
    """It has started a container without a network before, so it knows what that takes; nothing more is left of it."""
    engine = start_engine()
    settled(engine)
    engine.cli()("run", "--rm", "--network", "none", "busybox", "true")
    engine.clear()
    before = inventory(engine)
    yield engine
    engine.clear()
    nothing_more(engine, before)


@pytest.fixture
def docker(engine: Engine) -> Cli:
    return engine.cli()


def begun(engine: Engine, *command: str, **host: object) -> tuple[str, int]:
    """A container that was created, and the monitor that has begun its start and has not given it up yet."""
    api = Api(engine)
    for _ in range(20):
        container = api.create(*command, **HOST | host)
        with contextlib.suppress(OSError, AssertionError):
            return container, eventually(partial(monitor_of, engine, container), within=0.5)
        api.remove(container)  # a slow machine
    raise AssertionError("no start begins before it is asked for")


def test_one_that_is_not_started_soon_is_undone(engine: Engine, docker: Cli) -> None:
    container, monitor = begun(engine, "echo", "hi")
    eventually(lambda: not os.path.exists(f"/proc/{monitor}"))
    assert docker("inspect", "-f", "{{.State.Status}}", container).line == "created"
    assert docker("start", "-a", container).out == "hi\n"
    assert docker("inspect", container, check=False).rc != 0


def test_one_is_removed(engine: Engine, docker: Cli) -> None:
    container, _ = begun(engine, "true")
    docker("rm", container)


def test_a_limit_that_comes_later_holds(engine: Engine, docker: Cli) -> None:
    container, _ = begun(engine, "sh", "-c", LIMIT)
    docker("update", "-m", "32m", "--memory-swap", "64m", container)
    assert docker("start", "-a", container).line == str(32 << 20)


def test_files_that_come_later_are_there(engine: Engine, docker: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("copied\n")
    container, _ = begun(engine, "cat", "/file")
    docker("cp", str(tmp_path / "file"), f"{container}:/file")
    assert docker("start", "-a", container).out == "copied\n"


def test_what_cannot_be_executed_is_told_at_the_start(engine: Engine, docker: Cli) -> None:
    container = Api(engine).create("/absent", **HOST)
    failed = docker("start", container, check=False)
    assert (failed.rc, "no such file or directory" in failed.err) == (1, True)
    assert docker("run", "--rm", "--network", "none", "busybox", "/absent", check=False).rc == 127


def test_time_counts_from_the_start(engine: Engine, docker: Cli) -> None:
    container, _ = begun(engine, "sleep", "1000")
    asked = time.time()
    docker("start", container)
    started = docker("inspect", "-f", "{{.State.StartedAt}}", container).line
    docker("rm", "-f", container)
    assert datetime.fromisoformat(started).timestamp() >= asked


def test_its_monitor_is_killed(engine: Engine, docker: Cli) -> None:
    container, monitor = begun(engine, "echo", "hi")
    with contextlib.suppress(ProcessLookupError):  # a slow machine: it has given up already
        os.kill(monitor, signal.SIGKILL)
    eventually(lambda: not os.path.exists(f"/proc/{monitor}"))
    assert docker("start", "-a", container).out == "hi\n"


def test_the_forkserver_is_killed(engine: Engine, docker: Cli) -> None:
    container, _ = begun(engine, "echo", "hi")
    os.kill(forkserver_of(engine), signal.SIGKILL)
    assert docker("start", "-a", container).out == "hi\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_daemon_ends(engine: Engine, docker: Cli, number: int) -> None:
    container, monitor = begun(engine, "echo", "hi")
    engine.stop(number)
    eventually(lambda: not os.path.exists(f"/proc/{monitor}"))
    engine.start()
    assert docker("start", "-a", container).out == "hi\n"


def test_an_address_and_a_port_come_with_the_start(engine: Engine, docker: Cli) -> None:
    ports = {"80/tcp": [{"HostPort": "8080"}]}
    container, _ = begun(engine, "httpd", "-f", "-h", "/etc", NetworkMode="bridge", PortBindings=ports)
    other, _ = begun(engine, "ip", "-4", "-o", "addr", "show", "dev", "eth0", NetworkMode="bridge")
    assert not docker("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", container).line
    docker("start", container)
    asked = ("curl", "-sf", "http://127.0.0.1:8080/hostname")
    eventually(lambda: engine.run(*asked, check=False).strip() == container[:12])
    address = docker("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", container).line
    second = docker("start", "-a", other).out.split()[3].split("/")[0]
    assert address != second
    docker("rm", "-f", container)


def test_one_on_the_bridge_that_nobody_starts_takes_no_address(engine: Engine, docker: Cli) -> None:
    container, monitor = begun(engine, "true", NetworkMode="bridge")
    eventually(lambda: not os.path.exists(f"/proc/{monitor}"))
    docker("rm", container)


def test_a_port_that_is_taken_is_told_at_the_start(engine: Engine, docker: Cli) -> None:
    docker("run", "-d", "--name", "first", "-p", "8080:80", "busybox", "sleep", "1000")
    container, _ = begun(engine, "true", NetworkMode="bridge", PortBindings={"80/tcp": [{"HostPort": "8080"}]})
    failed = docker("start", container, check=False)
    assert (failed.rc, "port is already allocated" in failed.err) == (1, True)
    docker("rm", "-f", "first")


def test_a_terminal_and_standard_input(engine: Engine, docker: Cli) -> None:
    assert docker("run", "--rm", "-i", "--network", "none", "busybox", "cat", input="typed\n").out == "typed\n"
    assert docker("run", "--rm", "-t", "--network", "none", "busybox", "sh", "-c", "tty; echo hi").out.endswith("hi\n")


def test_a_start_that_is_broken_off_before_the_release_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while it waits for its clients, when what was begun is nobody else's any more."""
    monkeypatch.setattr(container_early, "_PATIENCE", 1000.0)
    monkeypatch.setattr(container_start, "_ARRIVAL", 1000.0)

    async def body(rig: launching.Rig) -> None:
        (rig.place / "engine").mkdir()
        context = Meeting(rig.place / "engine").context
        context.early = container_early.Early(rig.forkserver, lambda _: None)
        one = specimen("web", host=HostConfig(auto_remove=True))
        plan = plans.container(rig.place, "true")
        context.early.begin(one, plan)
        monitor = rig.place / "box/monitor.sock"
        await launching.eventually(monitor.exists)
        starter = container_start.Starter(context)
        monkeypatch.setattr(starter, "_prepare", AsyncMock(return_value=(plan, None)))
        with context.live(one.id).arriving:
            start = asyncio.create_task(starter.launch(one))
            await launching.eventually(lambda: one.id not in context.early)
            start.cancel()
            with pytest.raises(asyncio.CancelledError):
                await start
        await launching.eventually(lambda: not monitor.exists() and launching.idle(rig.forkserver.pid))

    launching.with_forkserver(tmp_path, body)
