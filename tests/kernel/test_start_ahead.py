"""What a start finds done already, and what is done beside it: spare network namespaces, control groups."""

import os
from pathlib import Path
from typing import Any

import pytest

from kernel import plans
from kernel.launching import Rig, eventually, with_forkserver
from tiffin.linux import namespaces as ns
from tiffin.runtime import plan
from tiffin.runtime.launcher import StartFailed

pytestmark = pytest.mark.root
_TREES = [Path("/sys/fs/cgroup") / name for name in ("pids", "memory", "unified")]
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
