"""The stage that waits for a container's next further process, after there was one."""

import asyncio
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernel import plans
from kernel.launching import Rig, children, eventually, parent, with_forkserver
from tiffin.linux import namespaces as ns
from tiffin.runtime import ahead
from tiffin.runtime.execs import Execs
from tiffin.runtime.launcher import Running, StartFailed
from tiffin.runtime.loop import Loop

pytestmark = pytest.mark.root
_numbers = itertools.count()


def waiting(running: Running) -> list[int]:
    """The stages that wait with a container's monitor, ready for what is to come."""
    found = []
    for pid in children(parent(running.pid)):
        try:
            if b"stage" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return found


async def run(rig: Rig, running: Running, *argv: str, **more: Any) -> tuple[str, int]:
    """What a further process said, and its exit code."""
    client, attachment = rig.client()
    process = await running.exec(plans.process(*argv), {}, [attachment], f"exec{next(_numbers)}", **more)
    code = await process.wait()
    return (await client.rest()).decode(), code


async def with_stage(rig: Rig, running: Running) -> int:
    """After a process there is one that waits for the next: its pid."""
    assert await run(rig, running, "true") == ("", 0)
    await eventually(lambda: len(waiting(running)) == 1)
    return waiting(running)[0]


async def end(running: Running) -> None:
    running.signal(9)
    assert (await running.wait()).code == 137


def test_the_next_process_becomes_of_a_stage_that_waited(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        for code in (3, 4, 5):
            before = await with_stage(rig, running)
            script = f"busybox readlink /proc/self/ns/pid; echo $PPID; busybox pwd; exit {code}"
            text, found = await run(rig, running, "sh", "-c", script)
            assert text.split() == [os.readlink(f"/proc/{running.pid}/ns/pid"), "0", "/"]
            assert found == code
            assert before not in children(parent(running.pid)), "who waited is gone, and was reaped"
        await end(running)

    with_forkserver(tmp_path, body)


def test_who_waits_is_outside_of_the_container_and_holds_nothing_of_it_but_its_pidfd(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        one = await with_stage(rig, running)
        own, theirs = Path(f"/proc/{one}"), Path(f"/proc/{parent(running.pid)}")
        for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "pid_for_children"):
            assert os.readlink(own / "ns" / kind) == os.readlink(theirs / "ns" / kind)
        assert (own / "cgroup").read_text() == (theirs / "cgroup").read_text()
        assert os.readlink(own / "root") == os.readlink(own / "cwd") == "/"

        def held() -> list[str]:
            try:
                links = [os.readlink(fd) for fd in (own / "fd").iterdir() if int(fd.name) > 2]
            except FileNotFoundError:
                return []  # it has just closed one: it is getting ready
            return sorted(link.partition(":")[0] for link in links if not link.endswith("/pagemap"))

        await eventually(lambda: held() in (["anon_inode", "socket"], ["pidfd", "socket"]))
        await end(running)

    with_forkserver(tmp_path, body)


_SELF = """
busybox grep -vE '^(Name|Pid|Tgid|Ngid|PPid|NS|Vm|Rss|Huge|.*ctxt|.*policy|Threads|State|SigQ|FDSize)' /proc/self/status
cat /proc/self/cgroup /proc/self/limits /proc/self/oom_score_adj /proc/self/environ
busybox readlink /proc/self/ns/* | sort
busybox readlink /proc/self/fd/* | busybox sed 's/[0-9]//g'
busybox cut -d ' ' -f 4,5,6,7,8,18,19 /proc/self/stat | busybox sed "s/\\b$$\\b/own/g"
"""


def test_it_becomes_the_same_process_as_one_that_is_forked_when_it_is_wanted(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        forked = await run(rig, running, "sh", "-c", _SELF)
        assert "Seccomp" in forked[0], forked
        await with_stage(rig, running)
        assert await run(rig, running, "sh", "-c", _SELF) == forked
        await end(running)

    with_forkserver(tmp_path, body)


def test_several_at_once_have_their_own_output_and_exit_code(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        for _ in range(3):
            await with_stage(rig, running)
            scripts = [("sh", "-c", f"echo {number}; exit {number}") for number in range(5)]
            found = await asyncio.gather(*(run(rig, running, *script) for script in scripts))
            assert found == [(f"{number}\n", number) for number in range(5)]
        await eventually(lambda: len(waiting(running)) == 1)
        await end(running)

    with_forkserver(tmp_path, body)


def test_a_terminal_and_what_cannot_run_go_the_same_way(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        await with_stage(rig, running)
        client, attachment = rig.client(stdin=True)
        stdio = {"terminal": True, "stdin": True, "size": (25, 81)}
        process = await running.exec(plans.process("sh", "-c", "stty size; read x"), stdio, [attachment], "t")
        await client.until(b"25 81")
        await client.send(b"\n")
        assert await process.wait() == 0
        await with_stage(rig, running)
        with pytest.raises(StartFailed, match=r'OCI runtime exec failed.*exec: "nope": executable file not found'):
            await running.exec(plans.process("nope"), {}, [], "second")
        assert await run(rig, running, "echo", "on") == ("on\n", 0)
        await end(running)

    with_forkserver(tmp_path, body)


def test_a_large_environment_arrives(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        await with_stage(rig, running)
        client, attachment = rig.client()
        process = plans.process("sh", "-c", "echo ${#A}")
        process["env"] = (*process["env"], b"A=" + b"x" * 120_000)
        assert await (await running.exec(process, {}, [attachment], "x")).wait() == 0
        assert await client.rest() == b"120000\n"
        await end(running)

    with_forkserver(tmp_path, body)


def test_one_that_is_killed_is_not_missed(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        for _ in range(3):
            one = await with_stage(rig, running)
            os.kill(one, signal.SIGKILL)
            assert await run(rig, running, "echo", "hi") == ("hi\n", 0)  # noticed or not
            one = await with_stage(rig, running)
            os.kill(one, signal.SIGKILL)
            await eventually(lambda one=one: not Path(f"/proc/{one}").exists())
            assert await run(rig, running, "echo", "hi") == ("hi\n", 0)
        await end(running)

    with_forkserver(tmp_path, body)


def test_it_goes_with_its_monitor(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        one = await with_stage(rig, running)
        monitor = rig.monitor_of()
        os.kill(monitor, signal.SIGKILL)
        await eventually(lambda: not Path(f"/proc/{one}").exists())
        while True:
            try:
                assert await run(rig, running, "echo", "hi") == ("hi\n", 0)
                break
            except StartFailed:
                await asyncio.sleep(0.01)
        assert rig.monitor_of() != monitor
        await end(running)

    with_forkserver(tmp_path, body)


def test_it_goes_with_its_container(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        one = await with_stage(rig, running)
        await end(running)
        await eventually(lambda: not Path(f"/proc/{one}").exists())

    with_forkserver(tmp_path, body)


def test_none_waits_after_one_that_stands_alone(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000")
        await with_stage(rig, running)
        for _ in range(2):  # the first takes the one that is there
            assert await run(rig, running, "true", single=True) == ("", 0)
            await asyncio.sleep(0.2)
            assert not waiting(running)
        await end(running)

    with_forkserver(tmp_path, body)


def test_namespaces_that_are_entered_by_a_fork_have_none(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        user = (b"0 100000 65536\n", b"0 100000 65536\n", False)
        mapped = {"unshare": plans.NAMESPACES | ns.CLONE_NEWUSER, "user": user, "process": {"groups": (0,)}}
        shifted = {"unshare": plans.NAMESPACES | ns.CLONE_NEWTIME, "time_offsets": b"boottime 1000000000 0\n"}
        for number, wanted in enumerate((mapped, shifted)):
            running = await rig.start("sleep", "1000", name=f"box{number}", **wanted)
            for _ in range(2):
                assert await run(rig, running, "echo", "hi") == ("hi\n", 0)
                await asyncio.sleep(0.2)
                assert not waiting(running)
            await end(running)

    with_forkserver(tmp_path, body)


class Alone:
    """As much of a monitor as its execs need to have a stage wait."""

    def __init__(self) -> None:
        self.execs = Execs(self)  # type: ignore[arg-type]
        self.loop = Loop(self.execs.ended)
        self.plan: dict[str, object] = {"unshare": 0, "join": (), "procs": ()}
        self.pidfd, self.exited = os.pidfd_open(os.getpid()), None


def in_fork(body: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            body()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def test_it_leaves_when_it_was_not_wanted_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiffin.runtime.execs._KEPT", 0.05)

    def body() -> None:
        monitor = Alone()
        monitor.execs._foresee()
        assert monitor.execs.busy()
        assert len(children(os.getpid())) == 1
        while children(os.getpid()):
            monitor.loop.after("look", 0.01, lambda: None)
            monitor.loop.step()
        assert not monitor.execs.busy()

    in_fork(body)


def test_on_another_processor_all_is_as_if_there_were_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "not here")

    monkeypatch.setattr(ahead.clone, "Step", refuse)

    def body() -> None:
        monitor = Alone()
        monitor.execs._foresee()
        assert not monitor.execs.busy()
        assert not children(os.getpid())

    in_fork(body)
