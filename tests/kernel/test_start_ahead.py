"""What a start finds done already, and what is done beside it: spare stages and network namespaces, control groups."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from kernel import plans
from kernel.launching import Rig, children, eventually, idle, parent, with_forkserver
from tiffin.linux import clone
from tiffin.linux import namespaces as ns
from tiffin.runtime import plan
from tiffin.runtime.launcher import StartFailed

pytestmark = pytest.mark.root
_TREES = [Path("/sys/fs/cgroup") / name for name in ("pids", "memory", "unified")]
if Path("/sys/fs/cgroup/cgroup.procs").exists():  # cgroup2 alone
    _TREES = [Path("/sys/fs/cgroup")]
several_trees = pytest.mark.skipif(
    sum(tree.is_dir() for tree in _TREES) < 2, reason="all groups are in one hierarchy, and made before the fork"
)


def groups(*more: plan.Operation) -> tuple[list[Path], dict[str, Any]]:
    """Groups in several hierarchies: their directories, and what of a plan makes them."""
    own = [tree / f"tiffin-test-{os.getpid()}-ahead" for tree in _TREES if tree.is_dir()]
    return own, {
        "cgroup": (*(plan.mkdir(os.fsencode(one)) for one in own), *more),
        "procs": tuple(os.fsencode(one / "cgroup.procs") for one in own),
        "rmdir": tuple(os.fsencode(one) for one in own),
        "unshare": plans.NAMESPACES & ~ns.CLONE_NEWCGROUP,
    }


@several_trees
def test_a_process_begins_in_groups_that_are_made_while_it_is(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        own, wanted = groups()
        for _ in range(3):
            text, how = await rig.output("cat", "/proc/self/cgroup", **wanted)
            assert (text.count(own[0].name), how.code) == (len(own), 0)
            assert not any(one.exists() for one in own)

    with_forkserver(tmp_path, body)


@several_trees
def test_a_group_that_cannot_be_made_ends_the_start_and_leaves_nothing(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        own, _ = groups()
        for broken in (plan.write(os.fsencode(own[0] / "absent"), b"1"), plan.mkdir(b"/proc/absent")):
            with pytest.raises(StartFailed) as failure:
                await rig.start("true", **groups(broken)[1])
            assert (failure.value.step, failure.value.path) == ("cgroup", os.fsdecode(broken[1]))  # type: ignore[arg-type]
            assert not any(one.exists() for one in own)

    with_forkserver(tmp_path, body)


@several_trees
def test_what_fails_while_groups_are_made_is_told(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        own, wanted = groups()
        for _ in range(10):  # it has left before it reads that its groups are there
            with pytest.raises(StartFailed) as failure:
                await rig.start("true", process={"oom_score_adj": 5000}, **wanted)
            assert failure.value.step == "limits", failure.value
            assert not any(one.exists() for one in own)

    with_forkserver(tmp_path, body)


@several_trees
def test_the_groups_of_what_is_removed_at_its_end_go_too(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        own, wanted = groups()
        assert (await rig.output("true", ephemeral=True, **wanted))[1].code == 0
        await eventually(lambda: not any(one.exists() for one in own))

    with_forkserver(tmp_path, body)


def test_every_container_has_a_network_namespace_of_its_own_with_loopback_up(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.output("true")  # from what it wrote to, the next ones know which pages they want ahead of time
        script = "busybox readlink /proc/self/ns/net; cat /sys/class/net/lo/flags; echo said; sleep 1000"
        seen, running = {os.readlink("/proc/self/ns/net")}, []
        for number in range(5):
            client, attachment = rig.client()
            running.append(await rig.start("sh", "-c", script, name=f"box{number}", attachments=[attachment]))
            namespace, flags, _ = (await client.until(b"said")).decode().split()
            assert flags == "0x9"
            assert namespace not in seen
            seen.add(namespace)
        for one in running:
            one.signal(9)
            await one.wait()

    with_forkserver(tmp_path, body)


def test_who_shares_the_hosts_network_is_given_no_other(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        for number in range(6):
            unshare = plans.NAMESPACES & ~ns.CLONE_NEWNET if number % 2 else plans.NAMESPACES
            operations = tuple(one for one in plans.operations(rig.place) if one[0] not in ("sysctl", "loopback"))
            text, _ = await rig.output(
                *("busybox", "readlink", "/proc/self/ns/net"),
                name=f"box{number}",
                unshare=unshare,
                operations=operations,
            )
            assert (text.strip() == os.readlink("/proc/self/ns/net")) is bool(number % 2), text

    with_forkserver(tmp_path, body)


def stages(pid: int) -> list[int]:
    """Of a forkserver's monitors that wait for a container, the stages that wait with them."""
    try:
        waiting = [one for monitor in children(pid)[1:] for one in children(monitor)]
        return [one for one in waiting if b"stage" in Path(f"/proc/{one}/cmdline").read_bytes()]
    except (FileNotFoundError, ProcessLookupError):
        return []  # one has just ended


async def with_stages(rig: Rig) -> list[int]:
    """After the first container has told what one writes to, and others have used what was there by then."""
    for _ in range(3):
        await rig.output("true")
        await eventually(lambda: idle(rig.forkserver.pid))
    await eventually(lambda: idle(rig.forkserver.pid) and len(stages(rig.forkserver.pid)) == 1)
    return stages(rig.forkserver.pid)


def test_a_process_goes_on_as_another_one_in_the_same_memory() -> None:
    said, saying = os.pipe()
    for _ in range(50):
        first = os.fork()
        if first == 0:
            try:
                kept = [1]
                pid = clone.Step().into()
                kept.append(2)
                os.write(saying, f"{pid} {os.getpid()} {os.getppid()} {kept}".encode())
            finally:
                os._exit(7)
        assert os.waitpid(first, 0) == (first, 0), "the old process ended by itself"
        number, own, above, values = os.read(said, 100).decode().split(" ", 3)
        assert (number, int(above), values) == (own, os.getpid(), "[1, 2]")
        assert int(number) != first
        assert os.waitstatus_to_exitcode(os.waitpid(int(number), 0)[1]) == 7
    os.close(said)
    os.close(saying)


def test_a_container_becomes_of_a_stage_that_was_there(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        before = await with_stages(rig)
        own, wanted = groups()
        client, attachment = rig.client()
        script = "echo $$; cat /proc/self/cgroup; echo said; sleep 1000"
        running = await rig.start("sh", "-c", script, attachments=[attachment], **wanted)
        said = (await client.until(b"said")).decode()
        assert said.startswith("1\n")
        assert said.count(own[0].name) == len(own)
        monitor = parent(running.pid)
        assert monitor in children(rig.forkserver.pid)
        assert children(monitor) == [running.pid], "the process that waited is gone, and was reaped"
        assert not Path(f"/proc/{before[0]}").exists()
        running.signal(9)
        await running.wait()
        await eventually(lambda: not any(one.exists() for one in own))

    with_forkserver(tmp_path, body)


def test_stages_in_reserve_go_with_monitors_and_nursery(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        waiting = await with_stages(rig)
        os.kill(parent(waiting[0]), signal.SIGKILL)
        await eventually(lambda: not Path(f"/proc/{waiting[0]}").exists())
        waiting = await with_stages(rig)
        os.kill(children(rig.forkserver.pid)[0], signal.SIGKILL)
        await eventually(lambda: not any(Path(f"/proc/{one}").exists() for one in waiting))

    with_forkserver(tmp_path, body)


def test_a_stage_that_is_killed_in_reserve_is_not_missed(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        waiting = await with_stages(rig)
        for one in waiting:
            os.kill(one, signal.SIGKILL)
        await eventually(lambda: all(ns.zombie_status(one) is not None for one in waiting))
        for number in range(3):
            assert (await rig.output("echo", "hi", name=f"box{number}"))[0] == "hi\n"

    with_forkserver(tmp_path, body)


def test_a_user_namespace_and_a_time_namespace_are_made_the_other_way(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await with_stages(rig)
        user = (b"0 100000 65536\n", b"0 100000 65536\n", False)
        mapped = {"unshare": plans.NAMESPACES | ns.CLONE_NEWUSER, "user": user, "process": {"groups": (0,)}}
        text, _ = await rig.output("cat", "/proc/self/uid_map", **mapped)
        assert text.split() == ["0", "100000", "65536"]
        shifted = {"unshare": plans.NAMESPACES | ns.CLONE_NEWTIME, "time_offsets": b"boottime 1000000000 0\n"}
        text, _ = await rig.output("cat", "/proc/uptime", **shifted)
        assert float(text.split()[0]) > 1e9

    with_forkserver(tmp_path, body)


def test_a_prepared_process_begins_when_it_is_released(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        running = rig.forkserver.prepare(plans.container(rig.place, "sh", "-c", "cat /proc/uptime; echo done"))
        client, attachment = rig.client()
        await running.release([attachment])
        text = await client.rest()
        assert (text.splitlines()[1:], (await running.wait()).code) == ([b"done"], 0)
        running.close()

    with_forkserver(tmp_path, body)


@several_trees
def test_a_prepared_process_that_nobody_wants_leaves_nothing(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        own, wanted = groups()
        for end in ("withdraw", "close"):
            running = rig.forkserver.prepare(plans.container(rig.place, "true", **wanted))
            await eventually(lambda: all(one.exists() for one in own))
            if end == "withdraw":
                assert await running.withdraw()
                assert not any(one.exists() for one in own)
            else:
                running.close()
                await eventually(lambda: not any(one.exists() for one in own))

    with_forkserver(tmp_path, body)
