"""A container to which nothing happens has a monitor that does nothing; and then something happens."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from kernel import plans
from kernel.launching import Rig, at_rest, eventually, parent, with_forkserver
from tiffin.linux.namespaces import CLONE_NEWPID
from tiffin.runtime.exits import recorded
from tiffin.runtime.launcher import Running

pytestmark = pytest.mark.root

# Says something when it is told to, and ends when it is told to.
_SCRIPT = "trap 'echo told' USR1; trap 'echo bye; exit 7' TERM; echo begun; while :; do sleep 0.02; done"


async def resting(rig: Rig) -> Running:
    """A container whose monitor rests."""
    running = await rig.start("sh", "-c", _SCRIPT, log=plans.json_log(rig.place))
    await eventually(lambda: said(rig) == ["begun"])
    await eventually(lambda: at_rest(rig, running))
    return running


def said(rig: Rig) -> list[str]:
    """What the log has."""
    return [line["log"].strip() for line in rig.lines()] if (rig.place / "log").exists() else []


async def ends_well(rig: Rig, running: Running, *words: str) -> None:
    """It ends with its own code, and the log has every word once."""
    running.signal(signal.SIGTERM)
    assert (await running.wait()).code == 7
    assert said(rig) == ["begun", *words, "bye"]
    assert recorded(rig.place / "box") is not None
    await eventually(lambda: not (rig.place / "box/monitor.sock").exists())


def test_its_end_is_noticed(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await ends_well(rig, await resting(rig))

    with_forkserver(tmp_path, body)


def test_what_it_says_later_is_logged_once(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await resting(rig)
        for count in (1, 2, 3):
            running.signal(signal.SIGUSR1)
            await eventually(lambda count=count: said(rig) == ["begun"] + ["told"] * count)
        await ends_well(rig, running, "told", "told", "told")

    with_forkserver(tmp_path, body)


def test_a_client_attaches_and_a_process_is_added(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await resting(rig)
        client, attachment = rig.client()
        process = await running.exec(plans.process("echo", "inside"), {}, [attachment], "x")
        assert await process.wait() == 0
        assert await client.rest() == b"inside\n"
        client, attachment = rig.client()
        await running.attach(attachment)
        running.signal(signal.SIGUSR1)
        await client.until(b"told\n")
        await ends_well(rig, running, "told")

    with_forkserver(tmp_path, body)


def test_its_monitor_is_replaced_when_it_is_killed(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await resting(rig)
        os.kill(parent(running.pid), signal.SIGKILL)
        await eventually(lambda: parent(running.pid) == rig.forkserver.pid)
        running.signal(signal.SIGUSR1)
        await eventually(lambda: said(rig) == ["begun", "told"])
        await ends_well(rig, running, "told")

    with_forkserver(tmp_path, body)


def test_who_started_it_dies_before_there_is_a_rest(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sh", "-c", _SCRIPT, log=plans.json_log(rig.place))
        os.kill(parent(running.pid), signal.SIGKILL)
        await eventually(lambda: said(rig) == ["begun"])
        await ends_well(rig, running)

    with_forkserver(tmp_path, body)


def test_it_outlives_the_forkserver(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await resting(rig)
        os.kill(rig.forkserver.pid, signal.SIGKILL)
        running.signal(signal.SIGUSR1)
        await eventually(lambda: said(rig) == ["begun", "told"])
        assert (await rig.output("echo", "hi", name="other"))[0] == "hi\n"
        await ends_well(rig, running, "told")

    with_forkserver(tmp_path, body)


def test_orphans_of_a_container_with_the_host_s_pids_are_reaped(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        log, unshare = plans.json_log(rig.place), plans.NAMESPACES & ~CLONE_NEWPID
        running = await rig.start("sh", "-c", "(sleep 1 & echo $!); exec sleep 1000", log=log, unshare=unshare)
        await eventually(lambda: bool(said(rig)))
        orphan = Path("/proc", said(rig)[0])
        await eventually(lambda: not orphan.exists())
        running.signal(signal.SIGKILL)
        assert (await running.wait()).code == 137

    with_forkserver(tmp_path, body)


def test_many_begin_and_end_around_the_moment_of_rest(tmp_path: Path) -> None:
    async def one(rig: Rig, number: int) -> None:
        script = f"echo one; sleep 0.{20 + number}; echo two; exit {number}"
        running = await rig.start("sh", "-c", script, name=f"box{number}")
        assert (await running.wait()).code == number

    async def body(rig: Rig) -> None:
        await asyncio.gather(*(one(rig, number) for number in range(16)))

    with_forkserver(tmp_path, body)
