"""Daemon, forkserver and monitors die; containers do not."""

import asyncio
import os
import select
import signal
from pathlib import Path

import pytest

from kernel import plans
from kernel.launching import Rig, at_rest, eventually, parent, with_forkserver
from rig.leaks import descriptors
from tiffin.runtime.exits import in_charge, recorded
from tiffin.runtime.launcher import Forkserver, Running, Sandbox, StartFailed

pytestmark = pytest.mark.root
KERNEL = tuple(map(int, os.uname().release.split(".")[:2]))


async def adopted(rig: Rig, forkserver: Forkserver) -> Running:
    """The container as another daemon finds it."""
    found = await forkserver.adopt("box", rig.place / "box")
    assert isinstance(found, Running)
    return found


def test_a_container_outlives_the_daemon(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        first = await rig.start("sh", "-c", "read x; exit $x", stdio={"stdin": True})
        started = first.pid, first.started_at
        first.close()
        rig.forkserver.close()
        again = Forkserver(rig.place)
        await again.open()
        assert again.pid == rig.forkserver.pid
        running = await adopted(rig, again)
        assert (running.pid, running.started_at) == started
        client, attachment = rig.client(stdin=True)
        await running.attach(attachment)
        await client.send(b"6\n")
        assert (await running.wait()).code == 6
        assert await again.adopt("box", rig.place / "box") == await running.wait()
        again.close()

    with_forkserver(tmp_path, body)


COUNT = "i=0; while [ $i -lt {0} ]; do i=$((i+1)); echo line $i; done; exit 4"


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_no_line_is_lost_or_doubled_when_monitors_are_killed(tmp_path: Path, terminal: bool) -> None:
    async def body(rig: Rig) -> None:
        count = 60000
        log = plans.json_log(rig.place)
        running = await rig.start("sh", "-c", COUNT.format(count), log=log, stdio={"terminal": terminal})
        killed = 0
        while not recorded(rig.place / "box") and killed < 25:
            try:
                monitor = rig.monitor_of()
            except OSError:
                await asyncio.sleep(0.001)
                continue
            await asyncio.sleep(0.003 * (killed % 4))
            try:
                os.kill(monitor, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass
        assert (await running.wait()).code == 4
        numbers = [line["log"].strip() for line in rig.lines()]
        assert numbers == [f"line {n}" for n in range(1, count + 1)]
        assert killed > 3

    with_forkserver(tmp_path, body)


def test_the_exit_code_is_exact_when_the_monitor_dies_first(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        for number in range(5):
            name = f"box{number}"
            running = await rig.start("sh", "-c", "read x; exit $x", stdio={"stdin": True}, name=name)
            os.kill(rig.monitor_of(name), signal.SIGKILL)
            while True:
                client, attachment = rig.client(stdin=True)
                try:
                    await running.attach(attachment)
                    break
                except StartFailed:
                    await asyncio.sleep(0.01)
            await client.send(b"%d\n" % (40 + number))
            assert (await running.wait()).code == 40 + number

    with_forkserver(tmp_path, body)


def test_an_exec_works_after_a_monitor_was_replaced(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        await eventually(lambda: at_rest(rig, running))  # before that another process becomes the monitor
        os.kill(parent(running.pid), signal.SIGKILL)
        while True:
            client, attachment = rig.client()
            try:
                process = await running.exec(plans.process("ls", "-l", "/proc/self/ns/pid"), {}, [attachment], "x")
                break
            except StartFailed:
                await asyncio.sleep(0.01)
        assert await process.wait() == 0
        assert os.readlink(f"/proc/{running.pid}/ns/pid").encode() in await client.rest()
        running.signal(9)
        assert (await running.wait()).code == 137

    with_forkserver(tmp_path, body)


def test_an_exec_ends_with_its_monitor_and_is_not_only_said_to(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        client, attachment = rig.client()
        process = await running.exec(plans.process("sleep", "1000"), {}, [attachment], "x")
        pidfd = os.pidfd_open(process.pid)
        os.kill(rig.monitor_of(), signal.SIGKILL)
        assert await process.wait() == 137
        assert await client.rest() == b""
        assert select.select([pidfd], [], [], 0)[0], "it has ended"
        os.close(pidfd)
        assert not select.select([running.pidfd], [], [], 0)[0], "the container has not"
        running.signal(9)
        assert (await running.wait()).code == 137

    with_forkserver(tmp_path, body)


@pytest.mark.skipif(KERNEL < (6, 15), reason="older kernels forget how a process ended that was not our child")
def test_a_detached_exec_outlives_its_monitor_and_its_code_is_known(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        os.mkfifo(rig.place / "root/gate")
        process = await running.exec(plans.process("sh", "-c", "read x < /gate; exit $x"), {}, [], "x")
        os.kill(rig.monitor_of(), signal.SIGKILL)
        await eventually(lambda: process.lost)
        await asyncio.to_thread((rig.place / "root/gate").write_text, "7\n")
        assert await process.wait() == 7
        running.signal(9)
        assert (await running.wait()).code == 137

    with_forkserver(tmp_path, body)


def test_the_client_of_an_exec_that_finds_no_monitor_sees_the_end(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        running.signal(9)
        await running.wait()
        running.close()
        client, attachment = rig.client()
        with pytest.raises(StartFailed, match="no monitor"):
            await running.exec(plans.process("true"), {}, [attachment], "x")
        assert await client.rest() == b""

    with_forkserver(tmp_path, body)


def test_containers_outlive_the_forkserver(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sh", "-c", "read x; exit $x", stdio={"stdin": True})
        os.kill(rig.forkserver.pid, signal.SIGKILL)
        other, how = await rig.output("echo", "hi", name="other")
        assert (other, how.code) == ("hi\n", 0)
        client, attachment = rig.client(stdin=True)
        await running.attach(attachment)
        await client.send(b"8\n")
        assert (await running.wait()).code == 8
        assert rig.forkserver.pid

    with_forkserver(tmp_path, body)


def test_a_container_is_in_charge_of_a_forkserver_that_came_while_it_was_born(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        before = rig.forkserver.pid

        async def network(_: Sandbox) -> None:
            os.kill(before, signal.SIGKILL)
            await eventually(lambda: rig.forkserver.pid != before)
            await asyncio.sleep(0.3)  # its monitor looks for the new one meanwhile

        running = await rig.start("sleep", "1000", network=network, stdio={"stdin": True})
        await eventually(lambda: in_charge(rig.place, "box"))
        running.signal(9)
        assert (await running.wait()).code == 137

    with_forkserver(tmp_path, body)


def test_nothing_is_falsely_running_when_forkserver_and_monitor_are_killed(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        await eventually(lambda: at_rest(rig, running))
        os.kill(rig.forkserver.pid, signal.SIGKILL)
        os.kill(parent(running.pid), signal.SIGKILL)
        how = await running.wait()
        assert how.code == 137
        assert how.error

    with_forkserver(tmp_path, body)


def test_a_new_forkserver_takes_charge_of_the_monitors_it_finds(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        log = plans.json_log(rig.place)
        script = "read x; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done; exit $x"
        running = await rig.start("sh", "-c", script, stdio={"stdin": True}, log=log)
        for _ in range(3):
            before = rig.forkserver.pid
            os.kill(before, signal.SIGKILL)
            await eventually(lambda before=before: rig.forkserver.pid != before)  # type: ignore[misc]
            monitor = rig.monitor_of()
            await eventually(lambda: holds(rig.forkserver.pid))
            os.kill(monitor, signal.SIGKILL)
            await eventually(lambda monitor=monitor: found(rig) not in (0, monitor))  # type: ignore[misc]
        while True:
            client, attachment = rig.client(stdin=True)
            try:
                await running.attach(attachment)
                break
            except StartFailed:
                await asyncio.sleep(0.01)
        await client.send(b"11\n")
        how = await running.wait()
        # before 6.15 nobody can ask for the status of a process that init has reaped
        assert (how.code, how.error) == (11, "") or (KERNEL < (6, 15) and how.code == 137 and "lost" in how.error)
        assert [line["log"] for line in rig.lines()] == [f"line {n}\n" for n in range(1, 20001)]

    def holds(pid: int) -> bool:
        """Whether a forkserver keeps a journal."""
        return any("memfd:header" in one for one in descriptors(pid))

    def found(rig: Rig) -> int:
        try:
            return rig.monitor_of()
        except OSError:
            return 0

    with_forkserver(tmp_path, body)
