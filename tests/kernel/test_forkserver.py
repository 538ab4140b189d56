"""What the forkserver and monitors load, hold and leave behind."""

import asyncio
import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import tiffin
from kernel import plans
from kernel.launching import Rig, at_rest, children, eventually, idle, parent, with_forkserver
from tiffin.runtime import channel

pytestmark = pytest.mark.root

_FOREIGN = {"json", "typing", "dataclasses", "logging", "asyncio", "msgspec", "re", "enum", "subprocess", "inspect"}


def test_the_forkserver_loads_almost_nothing() -> None:
    source = str(Path(tiffin.__file__).parent.parent)
    code = f"import sys; sys.path.insert(0, {source!r}); import tiffin.runtime.forkserver; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(out.stdout.split())
    assert not loaded & _FOREIGN
    assert not {name for name in loaded if name.startswith("tiffin.model")}


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def has_reserve(pid: int) -> bool:
    """Whether a forkserver has the nursery and the one monitor in reserve that comes after an attached container."""
    return len(children(pid)) == 2 and idle(pid)


def test_nothing_is_left_after_many_containers(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.output("true", log=plans.json_log(rig.place))
        pid = rig.forkserver.pid
        await eventually(lambda: has_reserve(pid))
        before, ours = descriptors(pid), descriptors(os.getpid())
        for _ in range(5):
            await asyncio.gather(*(rig.output("true", name=f"box{n}", log=plans.json_log(rig.place)) for n in range(8)))
        await eventually(lambda: idle(pid))
        await eventually(lambda: descriptors(pid) == before)
        assert descriptors(os.getpid()) <= ours + 2
        assert str(rig.place) not in Path(f"/proc/{pid}/mountinfo").read_text()

    with_forkserver(tmp_path, body)


def test_a_monitor_holds_only_its_own_container(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = [await rig.start("sleep", "1000", name=f"box{n}", log=plans.json_log(rig.place)) for n in range(6)]
        await eventually(lambda: all(at_rest(rig, one) for one in running))
        counts = [descriptors(parent(one.pid)) for one in running]  # to connect would be an event
        assert max(counts) - min(counts) <= 1
        for one in running:
            one.signal(9)
            await one.wait()

    with_forkserver(tmp_path, body)


def test_monitors_in_reserve_go_with_the_forkserver(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.output("true")
        pid = rig.forkserver.pid
        await eventually(lambda: has_reserve(pid))
        reserve = children(pid)
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not any(Path(f"/proc/{one}").exists() for one in reserve))

    with_forkserver(tmp_path, body)


def test_a_monitor_that_is_killed_in_reserve_is_not_missed(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.output("true")
        pid = rig.forkserver.pid
        await eventually(lambda: has_reserve(pid))
        for one in children(pid)[1:]:
            os.kill(one, signal.SIGKILL)
        await eventually(lambda: len(children(pid)) == 1)
        assert (await rig.output("echo", "hi"))[0] == "hi\n"

    with_forkserver(tmp_path, body)


def test_without_its_nursery_a_forkserver_makes_place_for_another(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        first = rig.forkserver.pid
        os.kill(children(first)[0], signal.SIGKILL)
        assert (await rig.output("echo", "hi", name="other"))[0] == "hi\n"
        await eventually(lambda: rig.forkserver.pid != first)
        running.signal(9)
        assert (await running.wait()).code == 137

    with_forkserver(tmp_path, body)


def test_spare_monitors_have_their_pages_only_where_they_will_need_them(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        pid = rig.forkserver.pid
        resting = await rig.start("sleep", "1000", log=plans.json_log(rig.place))
        await eventually(lambda: at_rest(rig, resting))
        await eventually(lambda: len(sizes_of_spares(pid)) == 2)
        shared = sizes_of_spares(pid)
        for _ in range(2):  # the first tells at its end which pages a monitor writes to
            assert (await rig.output("echo", "hi", name="other"))[0] == "hi\n"
            await eventually(lambda: not any(b"other" in title for title in titles(pid)))
        await eventually(lambda: any(size > 2 * max(shared) for size in sizes_of_spares(pid)))
        resting.signal(9)
        await resting.wait()

    with_forkserver(tmp_path, body)


def titles(pid: int) -> list[bytes]:
    """What the children of a process are called; of one that has just ended, nothing."""
    found = []
    for one in children(pid):
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{one}/cmdline").read_bytes())
    return found


def sizes_of_spares(pid: int) -> list[int]:
    """Memory of their own, in KiB, of the monitors that wait for a container."""
    try:
        spares = [one for one in children(pid)[1:] if b"nursery" in Path(f"/proc/{one}/cmdline").read_bytes()]
        texts = [Path(f"/proc/{one}/smaps_rollup").read_text() for one in spares]
    except OSError:
        return []  # one has just ended
    return [int(re.findall(r"Private_Dirty: +(\d+)", text)[0]) for text in texts]


def test_a_monitor_is_small(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = [await rig.start("sleep", "1000", name=f"box{n}", log=plans.json_log(rig.place)) for n in range(20)]
        await eventually(lambda: all(at_rest(rig, one) for one in running))
        sizes = [pss(parent(one.pid)) for one in running]
        assert sum(sizes) / len(sizes) < 1280, sizes
        for one in running:
            one.signal(9)
            await one.wait()

    with_forkserver(tmp_path, body)


def pss(pid: int) -> int:
    """Proportional set size in KiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise AssertionError("no Pss")


def test_sockets_are_for_their_owner_only(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        for path in (rig.place / "forkserver.sock", rig.place / "box/monitor.sock"):
            assert path.stat().st_mode & 0o777 == 0o600
        running.signal(9)
        await running.wait()
        assert "@" not in "".join(
            line.split()[-1][:1] for line in Path("/proc/net/unix").read_text().splitlines() if "monitor" in line
        )

    with_forkserver(tmp_path, body)


def test_garbage_on_the_socket_hurts_nobody(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(str(rig.place / "forkserver.sock"))
        sock.send(b"\xff\xfe nonsense")
        assert (await rig.output("echo", "still"))[0] == "still\n"
        sock.close()

    with_forkserver(tmp_path, body)


def test_without_a_descriptor_to_spare_a_connection_waits(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        pid = rig.forkserver.pid
        running = await rig.start("sleep", "1000", log=plans.json_log(rig.place))
        await eventually(lambda: at_rest(rig, running))
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, hard))
        sock = channel.connect(str(rig.place), "forkserver.sock")
        channel.send(sock, (1, "list", {}))
        await asyncio.sleep(0.3)  # several attempts
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        answer, _ = await asyncio.to_thread(channel.receive, sock)
        assert answer == (1, True, {"ids": (running.id,)})
        sock.close()
        assert rig.forkserver.pid == pid
        running.signal(9)
        await running.wait()

    with_forkserver(tmp_path, body)


def test_who_asks_and_does_not_wait_for_the_answer_hurts_nobody(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        pid = rig.forkserver.pid
        os.kill(pid, signal.SIGSTOP)
        sock = channel.connect(str(rig.place), "forkserver.sock")
        channel.send(sock, (1, "list", {}))
        sock.close()
        os.kill(pid, signal.SIGCONT)
        assert (await rig.output("echo", "still"))[0] == "still\n"
        assert rig.forkserver.pid == pid

    with_forkserver(tmp_path, body)
