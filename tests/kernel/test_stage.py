"""What a container sees, and what the stage refuses."""

import ctypes
import os
import signal
import socket
import struct
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from kernel import plans
from kernel.launching import Rig, with_forkserver
from tiffin.linux import mounts
from tiffin.linux import namespaces as ns
from tiffin.linux.syscalls import NUMBERS
from tiffin.runtime import plan
from tiffin.runtime.launcher import StartFailed

pytestmark = pytest.mark.root


def sees(place: Path, *argv: str, **more: object) -> str:
    """What a command in a container writes."""
    seen: list[str] = []

    async def body(rig: Rig) -> None:
        seen.append((await rig.output(*argv, **more))[0])

    with_forkserver(place, body)
    return seen[0]


def refused(place: Path, *argv: str, **more: object) -> StartFailed:
    """The failure of a start."""
    seen: list[StartFailed] = []

    async def body(rig: Rig) -> None:
        with pytest.raises(StartFailed) as caught:
            await rig.start(*argv, **more)
        seen.append(caught.value)

    with_forkserver(place, body)
    return seen[0]


def in_child(work: Callable[[], None]) -> None:
    """Run it in a process of its own, which what it changes ends with."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_a_container_has_the_capabilities_and_nothing_ignored_or_blocked(tmp_path: Path) -> None:
    status = dict(line.split(":\t", 1) for line in sees(tmp_path, "cat", "/proc/self/status").splitlines())
    for name in ("CapBnd", "CapPrm", "CapEff"):
        assert int(status[name], 16) == plans.DEFAULT_CAPABILITIES
    for name in ("CapInh", "CapAmb", "SigIgn", "SigBlk"):
        assert int(status[name], 16) == 0, name
    assert status["Umask"] == "0022"
    assert status["Pid"] == "1"
    assert status["Groups"].strip() == ""


def test_what_the_engine_was_told_to_ignore_is_not_ignored_in_a_container(tmp_path: Path) -> None:
    ignored = (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, 32, 33, signal.SIGRTMIN, signal.SIGRTMAX)

    def work() -> None:
        for number in ignored:  # sigaction(3) would refuse 32 and 33
            ctypes.CDLL(None).syscall(NUMBERS["rt_sigaction"], number, struct.pack("QQQQ", 1, 0, 0, 0), None, 8)
        own = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
        assert int(own["SigIgn"], 16) & 0x180000000 == 0x180000000
        text = sees(tmp_path, "cat", "/proc/self/status")
        status = dict(line.split(":\t", 1) for line in text.splitlines())
        assert int(status["SigIgn"], 16) == int(status["SigBlk"], 16) == 0, status

    in_child(work)


def test_a_user_other_than_root_has_no_capabilities(tmp_path: Path) -> None:
    text = sees(tmp_path, "cat", "/proc/self/status", process={"uid": 1000, "gid": 100, "groups": (100, 7)})
    status = dict(line.split(":\t", 1) for line in text.splitlines())
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert int(status["CapBnd"], 16) == plans.DEFAULT_CAPABILITIES
    assert status["Uid"].split() == ["1000"] * 4
    assert status["Gid"].split() == ["100"] * 4
    assert sorted(status["Groups"].split()) == ["100", "7"]


def test_a_container_has_three_descriptors_only(tmp_path: Path) -> None:
    # The fourth is the directory that ls reads.
    assert sees(tmp_path, "ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]


def test_every_namespace_is_its_own(tmp_path: Path) -> None:
    names = ("mnt", "net", "pid", "ipc", "uts", "cgroup")
    text = sees(tmp_path, "sh", "-c", "for n in mnt net pid ipc uts cgroup; do ls -l /proc/self/ns/$n; done")
    inside = [line.rsplit("-> ", 1)[1] for line in text.splitlines()]
    assert len(inside) == 6
    for name, link in zip(names, inside, strict=True):
        assert link != os.readlink(f"/proc/self/ns/{name}")


def test_proc_is_masked_and_sysctls_are_set_and_read_only(tmp_path: Path) -> None:
    script = (
        "exec 2>&1; wc -c < /proc/version; ls /proc/acpi | wc -l; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; "
    )
    script += "echo 1 > /proc/sys/net/ipv4/ip_forward; cat /proc/sys/kernel/hostname; ls /sys/class/net"
    text = sees(tmp_path, "sh", "-c", script)
    assert text.splitlines()[:2] == ["0", "0"]
    assert "Read-only file system" in text
    assert text.splitlines()[-2:] == ["box", "lo"]


def test_the_host_is_not_reachable_through_the_working_directory(tmp_path: Path) -> None:
    for number in (3, 7, 12, 40):
        failure = refused(tmp_path / str(number), "ls", process={"cwd": b"/proc/self/fd/%d" % number})
        assert failure.step == "chdir"


def test_a_missing_working_directory_is_made_where_asked(tmp_path: Path) -> None:
    where = {"cwd": b"/new/below", "cwd_create": True, "uid": 1000, "gid": 1000}
    assert sees(tmp_path, "sh", "-c", "pwd; ls -nd .", process=where).split()[0] == "/new/below"
    assert (tmp_path / "root/new/below").stat().st_uid == 1000
    assert "no such file" in str(refused(tmp_path / "b", "ls", process={"cwd": b"/nowhere"})).lower()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("nope", 'exec: "nope": executable file not found in $PATH'),
        ("/bin/nope", 'exec: "/bin/nope": stat /bin/nope: no such file or directory'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
        ("/etc", 'exec: "/etc": is a directory: permission denied'),
    ],
)
def test_what_can_not_be_executed_is_said_in_docker_words(tmp_path: Path, program: str, message: str) -> None:
    text = str(refused(tmp_path, program))
    assert text.startswith("failed to create task for container: failed to create shim task: OCI runtime create failed")
    assert text.endswith(message)


def test_a_mount_does_not_follow_a_link_out_of_the_root(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    source = tmp_path / "source"
    source.mkdir()
    (source / "mark").write_text("here\n")

    async def body(rig: Rig) -> None:
        (rig.place / "root/link").symlink_to(outside)
        (rig.place / "root/up").symlink_to("../../../../../../.." + str(outside))
        extra = tuple(
            plan.mount(target, b"bind", os.fsencode(source), bind=2, create=b"source")
            for target in (b"/link/a", b"/up/b")
        )
        before = plans.operations(rig.place)
        text, how = await rig.output("cat", str(outside / "a/mark"), operations=(*before[:6], *extra, *before[6:]))
        # Beneath the root the same path exists only if it was made there; a dangling link makes nothing.
        assert how.code != 0 or text == "here\n"

    try:
        with_forkserver(tmp_path, body)
    except StartFailed as failure:
        assert failure.step == "mount"
    assert list(outside.iterdir()) == []


def test_proc_can_not_be_a_link_of_the_image(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        (rig.place / "root/proc").symlink_to("tmp")
        with pytest.raises(StartFailed) as caught:
            await rig.start("true")
        assert caught.value.step == "mount"
        assert caught.value.path == "proc" or caught.value.path == "/proc"

    with_forkserver(tmp_path, body)


def test_nothing_is_mounted_inside_proc(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        before = plans.operations(rig.place)
        extra = plan.mount(b"/proc/sys", b"tmpfs", b"tmpfs")
        with pytest.raises(StartFailed) as caught:
            await rig.start("true", operations=(*before[:6], extra, *before[6:]))
        assert "inside /proc" in str(caught.value)

    with_forkserver(tmp_path, body)


def test_a_bind_is_read_only_with_what_is_mounted_below_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "f").write_text("x")

    async def body(rig: Rig) -> None:
        before = plans.operations(rig.place)
        flags = (mounts.MOUNT_ATTR_RDONLY, 0)
        extra = plan.mount(b"/mnt/deep", b"bind", os.fsencode(source), bind=2, create=b"source", recursive=flags)
        script = "cat /mnt/deep/f; echo y > /mnt/deep/f"
        text, how = await rig.output("sh", "-c", script, operations=(*before[:6], extra, *before[6:]))
        assert text.startswith("x")
        assert "Read-only" in text
        assert how.code == 1

    with_forkserver(tmp_path, body)
    assert (source / "f").read_text() == "x"


def test_a_user_namespace_maps_root_and_keeps_devices(tmp_path: Path) -> None:
    user = (b"0 100000 65536\n", b"0 100000 65536\n", False)

    async def body(rig: Rig) -> None:
        script = "cat /proc/self/uid_map; id -u; echo x > /dev/null && echo device; cat /proc/self/status | grep CapEff"
        text, how = await rig.output(
            "sh", "-c", script, unshare=plans.NAMESPACES | ns.CLONE_NEWUSER, user=user, process={"groups": (0,)}
        )
        assert how.code == 0, text
        assert text.split()[:4] == ["0", "100000", "65536", "0"]
        assert "device" in text

    with_forkserver(tmp_path, body)


def test_a_user_namespace_works_where_the_hosts_mounts_are_shared(tmp_path: Path) -> None:
    user = (b"0 100000 65536\n", b"0 100000 65536\n", False)

    def work() -> None:
        ns.unshare(ns.CLONE_NEWNS)
        for kind in (mounts.MS_PRIVATE, mounts.MS_SHARED):
            mounts.mount(b"none", b"/", None, kind | mounts.MS_REC)
        text = sees(tmp_path, "cat", "/proc/self/mountinfo", unshare=plans.NAMESPACES | ns.CLONE_NEWUSER, user=user)
        assert text
        assert "shared:" not in text

    in_child(work)


def test_an_exec_joins_a_user_namespace(tmp_path: Path) -> None:
    user = (b"0 100000 65536\n", b"0 100000 65536\n", False)

    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000", unshare=plans.NAMESPACES | ns.CLONE_NEWUSER, user=user)
        client, attachment = rig.client()
        process = await running.exec(
            plans.process("sh", "-c", "cat /proc/self/uid_map; echo $$"), {}, [attachment], "one"
        )
        assert await process.wait() == 0
        assert (await client.rest()).split()[:3] == [b"0", b"100000", b"65536"]
        running.signal(9)
        assert (await running.wait()).code == 137

    with_forkserver(tmp_path, body)


def test_execs_in_a_user_namespace_are_known_by_their_pids_each_time(tmp_path: Path) -> None:
    user = (b"0 100000 65536\n", b"0 100000 65536\n", False)

    async def body(rig: Rig) -> None:
        running = await rig.start("sleep", "1000", unshare=plans.NAMESPACES | ns.CLONE_NEWUSER, user=user)
        for number in range(60):  # the process that stays must not speak before the intermediate one said who it is
            process = await running.exec(plans.process("sh", "-c", f"exit {number}"), {}, [], f"exec-{number}")
            assert await process.wait() == number
        running.signal(9)
        assert (await running.wait()).code == 137

    with_forkserver(tmp_path, body)


def test_pid_one_with_init_reaps_and_passes_signals_on(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        client, attachment = rig.client()
        script = "trap 'echo caught; exit 7' TERM; (sleep 0.01 &); echo up; while :; do sleep 0.01; done"
        running = await rig.start("sh", "-c", script, init=True, attachments=[attachment])
        await client.until(b"up")
        running.signal(15)
        assert (await running.wait()).code == 7
        assert b"caught" in await client.rest()

    with_forkserver(tmp_path, body)


def test_the_network_is_configured_from_outside_before_the_process_begins(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        async def configure(sandbox: object) -> None:
            netlink = socket.socket(fileno=os.dup(sandbox.netlink))  # type: ignore[attr-defined]
            assert netlink.family == socket.AF_NETLINK
            inside = os.stat(sandbox.namespace).st_ino  # type: ignore[attr-defined]
            assert inside != os.stat("/proc/self/ns/net").st_ino
            (rig.place / "root/etc/configured").write_text("yes")
            netlink.close()

        client, attachment = rig.client()
        running = await rig.start("cat", "/etc/configured", network=configure, attachments=[attachment])
        assert (await running.wait()).code == 0
        assert await client.rest() == b"yes"

    with_forkserver(tmp_path, body)


def test_the_engine_is_not_dumpable_and_runs_from_a_sealed_copy(tmp_path: Path) -> None:
    import fcntl

    async def body(rig: Rig) -> None:
        pid = rig.forkserver.pid
        executable = os.open(f"/proc/{pid}/exe", os.O_RDONLY)
        assert fcntl.fcntl(executable, fcntl.F_GET_SEALS) & 0xF == 0xF
        assert len(os.listdir(f"/proc/{pid}/task")) == 1
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0
        running = await rig.start("sleep", "1000")
        monitor = rig.monitor_of()
        assert os.readlink(f"/proc/{monitor}/exe").startswith("/memfd:")
        running.signal(9)
        await running.wait()

    with_forkserver(tmp_path, body)
