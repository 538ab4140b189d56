"""Streams, logs, exec and exit through the monitor."""

import asyncio
import errno
import os
import struct
from pathlib import Path

import pytest

from kernel import plans
from kernel.launching import Rig, at_rest, eventually, idle, parent, with_forkserver
from tiffin.linux import namespaces as ns
from tiffin.runtime.exits import recorded
from tiffin.runtime.launcher import Running, StartFailed

pytestmark = pytest.mark.root


def test_output_reaches_client_and_log(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        text, how = await rig.output("sh", "-c", "echo one; echo two >&2; exit 5", log=plans.json_log(rig.place))
        assert sorted(text.split()) == ["one", "two"]
        assert (how.code, how.oom_killed) == (5, False)
        assert sorted((line["stream"], line["log"]) for line in rig.lines()) == [
            ("stderr", "two\n"),
            ("stdout", "one\n"),
        ]
        assert recorded(rig.place / "box") == (5, False, how.finished_at, "")

    with_forkserver(tmp_path, body)


def test_framed_output_names_its_stream(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        client, attachment = rig.client(framed=True)
        running = await rig.start("sh", "-c", "echo err >&2", attachments=[attachment])
        assert await client.rest() == struct.pack(">BxxxI", 2, 4) + b"err\n"
        await running.wait()

    with_forkserver(tmp_path, body)


def test_output_survives_half_closed_stdin(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        client, attachment = rig.client(stdin=True)
        client.half_close()
        running = await rig.start(
            "sh", "-c", "cat; echo after", stdio={"stdin": True, "stdin_once": True}, attachments=[attachment]
        )
        assert await client.rest() == b"after\n"
        assert (await running.wait()).code == 0

    with_forkserver(tmp_path, body)


def test_a_megabyte_through_cat_comes_back_whole(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)

    async def body(rig: Rig) -> None:
        client, attachment = rig.client(stdin=True, leftover=data[:100])
        running = await rig.start("cat", stdio={"stdin": True, "stdin_once": True}, attachments=[attachment])

        async def typing() -> None:
            await client.send(data[100:])
            client.half_close()

        _, seen = await asyncio.gather(typing(), client.rest())
        assert seen == data
        assert (await running.wait()).code == 0

    with_forkserver(tmp_path, body)


def test_a_terminal_echoes_resizes_and_detaches(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        client, attachment = rig.client(stdin=True, detach_keys=b"\x10\x11")
        stdio = {"terminal": True, "stdin": True, "size": (30, 100)}
        running = await rig.start("sh", stdio=stdio, attachments=[attachment], log=plans.json_log(rig.place))
        await client.send(b"stty size; ls -l /dev/console\n")
        await client.until(b"30 100")
        await running.resize(40, 120)
        await client.send(b"stty size\n")
        await client.until(b"40 120")
        await client.send(b"echo x\x10\x11")
        assert await attachment.ended == "keys"
        again, second = rig.client(stdin=True)
        await running.attach(second)
        await again.send(b"\necho back $((40+2)); exit 3\n")
        await again.until(b"back 42")
        assert (await running.wait()).code == 3
        assert any("40 120" in line["log"] for line in rig.lines())

    with_forkserver(tmp_path, body)


def test_an_exec_has_its_own_streams_and_exit_code(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        client, attachment = rig.client(stdin=True)
        process = await running.exec(
            plans.process("sh", "-c", "cat; echo $$; exit 9"), {"stdin": True}, [attachment], "first"
        )
        await client.send(b"typed\n")
        client.half_close()
        text = (await client.rest()).split()
        assert text[0] == b"typed"
        assert int(text[1]) > 1
        assert await process.wait() == 9
        with pytest.raises(StartFailed, match=r'OCI runtime exec failed.*exec: "nope": executable file not found'):
            await running.exec(plans.process("nope"), {}, [], "second")
        running.signal(9)
        assert (await running.wait()).code == 137

    with_forkserver(tmp_path, body)


def test_an_exec_with_a_terminal_gets_one_of_the_container(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        client, attachment = rig.client(stdin=True)
        stdio = {"terminal": True, "stdin": True, "size": (25, 81)}
        process = await running.exec(plans.process("sh", "-c", "stty size; tty; read x"), stdio, [attachment], "t")
        await client.until(b"25 81")
        await running.resize(33, 90, "t")
        await client.send(b"\n")
        assert await process.wait() in (0, 1)
        running.signal(9)
        await running.wait()

    with_forkserver(tmp_path, body)


def test_a_size_for_what_has_no_terminal_leaves_the_monitor_alone(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        await eventually(lambda: at_rest(rig, running))  # before that it is another process
        monitor = parent(running.pid)
        await eventually(lambda: rig.monitor_of() == monitor)  # it has begun to listen itself
        with pytest.raises(StartFailed, match="not a terminal"):
            await running.resize(40, 120)
        assert rig.monitor_of() == monitor
        running.signal(9)
        assert (await running.wait()).code == 137

    with_forkserver(tmp_path, body)


def test_an_exec_dies_with_its_container(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        process = await running.exec(plans.process("sleep", "1000"), {}, [], "x")
        running.signal(9)
        assert await process.wait() == 137
        assert (await running.wait()).code == 137

    with_forkserver(tmp_path, body)


def test_a_failed_start_leaves_nothing(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        client, attachment = rig.client()
        with pytest.raises(StartFailed):
            await rig.start("nope", attachments=[attachment])
        assert await client.rest() == b""
        assert not (rig.place / "box/monitor.sock").exists()
        await eventually(lambda: idle(rig.forkserver.pid))

    with_forkserver(tmp_path, body)


def test_a_network_that_fails_fails_the_start(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        async def broken(sandbox: object) -> None:
            raise ValueError("no address left")

        with pytest.raises(ValueError, match="no address left"):
            await rig.start("true", network=broken)
        await eventually(lambda: idle(rig.forkserver.pid))

    with_forkserver(tmp_path, body)


def test_a_container_in_the_hosts_pid_namespace_takes_its_children_along(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        cgroup = Path("/sys/fs/cgroup/pids") if Path("/sys/fs/cgroup/pids").is_dir() else Path("/sys/fs/cgroup")
        own = cgroup / f"tiffin-test-{os.getpid()}"
        from tiffin.runtime import plan

        text, how = await rig.output(
            "sh",
            "-c",
            "sleep 1000 & echo $!",
            unshare=plans.NAMESPACES & ~ns.CLONE_NEWPID,
            cgroup=(plan.mkdir(os.fsencode(own)),),
            procs=(os.fsencode(own / "cgroup.procs"),),
            rmdir=(os.fsencode(own),),
        )
        assert how.code == 0
        assert not Path(f"/proc/{int(text)}").exists()
        assert not own.exists()

    with_forkserver(tmp_path, body)


def test_a_process_begins_inside_its_control_groups(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        from tiffin.runtime import plan

        tree = Path("/sys/fs/cgroup/pids") if Path("/sys/fs/cgroup/pids").is_dir() else Path("/sys/fs/cgroup")
        own = tree / f"tiffin-test-{os.getpid()}-groups"
        limit = plan.write(os.fsencode(own / "pids.max"), b"50", ignore=(errno.ENOENT,))  # cgroup2, before any engine
        groups = {
            "cgroup": (plan.mkdir(os.fsencode(own)), limit),
            "procs": (os.fsencode(own / "cgroup.procs"),),
            "rmdir": (os.fsencode(own),),
            "unshare": plans.NAMESPACES & ~ns.CLONE_NEWCGROUP,
        }
        text, _ = await rig.output("cat", "/proc/self/cgroup", **groups)
        assert own.name in text
        assert not own.exists()
        with pytest.raises(StartFailed):
            await rig.start("nope", **groups)
        assert not own.exists()
        running = await rig.start("sleep", "1000", **groups)
        client, attachment = rig.client()
        process = await running.exec(plans.process("cat", "/proc/self/cgroup"), {}, [attachment], "one")
        assert await process.wait() == 0
        assert own.name.encode() in await client.rest()
        running.signal(9)
        await running.wait()
        assert not own.exists()
        broken = {**groups, "procs": (os.fsencode(own / "absent" / "cgroup.procs"),)}
        with pytest.raises(StartFailed, match="cgroup"):
            await rig.start("true", **broken)
        assert not own.exists()

    with_forkserver(tmp_path, body)


def test_a_second_run_does_not_see_how_the_first_ended(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        assert (await rig.output("sh", "-c", "exit 5"))[1].code == 5
        running = await rig.start("sleep", "1000")
        assert recorded(rig.place / "box") is None
        found = await rig.forkserver.adopt("box", rig.place / "box")
        assert isinstance(found, Running)
        assert found.pid == running.pid
        found.close()
        running.signal(9)
        assert (await running.wait()).code == 137

    with_forkserver(tmp_path, body)


def test_a_client_that_reads_nothing_does_not_make_the_engine_grow(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        client, attachment = rig.client()
        script = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); cat /bin/busybox; done"
        running = await rig.start("sh", "-c", script, attachments=[attachment])
        size = (rig.place / "root/bin/busybox").stat().st_size
        monitor = rig.monitor_of()
        await eventually(lambda: queued(monitor) > 1500)
        assert queued(monitor) < 16 * 1024
        total = 0
        while data := await client.read():
            client.seen = b""
            total += len(data)
        assert total == 60 * size
        assert (await running.wait()).code == 0

    def queued(pid: int) -> int:
        """KiB of private memory."""
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(next(line for line in text.splitlines() if line.startswith("Private_Dirty")).split()[1])

    with_forkserver(tmp_path, body)
