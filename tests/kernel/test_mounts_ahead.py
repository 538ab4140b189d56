"""File systems that a stage finds made already: nobody can tell them from those that it makes itself."""

from pathlib import Path

import pytest

from kernel import plans
from kernel.launching import Rig, with_forkserver
from kernel.test_start_ahead import with_stages
from tiffin.linux import mounts
from tiffin.runtime import plan

pytestmark = pytest.mark.root
_NO_EXEC = (mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV | mounts.MOUNT_ATTR_NOEXEC, 0)


def operations(place: Path, shm: bytes = b"size=67108864") -> tuple[plan.Operation, ...]:
    """Mounts as the engine has them by default, where `plans` has some of their options in another order."""
    pts = (b"newinstance", b"ptmxmode=0666", b"mode=0620", b"gid=5")
    ours = (
        plan.mount(b"/dev/pts", b"devpts", b"devpts", options=pts, attributes=(_NO_EXEC[0] & ~4, 0)),
        plan.mount(b"/dev/shm", b"tmpfs", b"shm", options=(b"mode=1777", shm), attributes=_NO_EXEC),
    )
    theirs = plans.operations(place)
    number = next(number for number, one in enumerate(theirs) if one[1:2] == (b"/dev/pts",))
    return (*theirs[:number], *ours, *theirs[number + 1 :])


def test_mounts_look_the_same_whoever_made_them_and_are_in_the_plans_order(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        script = "cat /proc/mounts; busybox stat -c '%n %a %u %g %t %T' /dev /dev/pts /dev/shm /dev/pts/ptmx /dev/null"
        looks = []
        for _ in range(2):
            looks.append(await rig.output("sh", "-c", script, operations=operations(rig.place)))
            await with_stages(rig)
        lines = looks[0][0].splitlines()
        assert looks[1][0].splitlines() == lines
        assert [one.split()[1] for one in lines[:6]] == ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/sys"]
        assert "/dev/shm 1777 0 0 0 0" in lines

    with_forkserver(tmp_path, body)


def test_every_container_has_file_systems_of_its_own(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await with_stages(rig)
        script = "echo here > /dev/mark; echo here > /dev/shm/mark; echo made; sleep 1000"
        running = []
        for number in range(4):
            text, _ = await rig.output("ls", "/dev", "/dev/shm", name=f"look{number}", operations=operations(rig.place))
            assert "mark" not in text
            client, attachment = rig.client()
            wanted = {"name": f"box{number}", "operations": operations(rig.place), "attachments": [attachment]}
            running.append(await rig.start("sh", "-c", script, **wanted))
            await client.until(b"made")
        for one in running:
            one.signal(9)
            await one.wait()

    with_forkserver(tmp_path, body)


def test_a_file_system_of_other_options_has_them(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await with_stages(rig)
        text, _ = await rig.output("grep", "/dev/shm", "/proc/mounts", operations=operations(rig.place, b"size=4096"))
        assert "size=4k" in text

    with_forkserver(tmp_path, body)
