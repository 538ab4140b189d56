"""What a container is by default, asserted from inside and from the host; the same tests pass on dockerd."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from rig import Engine, cgroup
from security.boxes import DEFAULT, EMPTY, Box, check_process, fields, start

pytestmark = pytest.mark.root


def test_the_first_process_is_confined(box: Box) -> None:
    status = box.status()
    check_process(status)
    assert status["SigCgt"] == EMPTY or "sleep" not in status["Name"]
    assert status["Groups"].split() == ["0"]
    assert status["NSpid"].split()[1:] == ["1"]
    assert Path(f"/proc/{box.pid}/oom_score_adj").read_text() == "0\n"


def test_an_exec_is_confined_alike(box: Box) -> None:
    check_process(fields(box.docker("exec", "box", "cat", "/proc/self/status").out))
    assert box.sh("cat /proc/self/oom_score_adj") == "0\n"


@pytest.mark.parametrize("user", ["1000", "33:33", "nobody"])
def test_a_user_other_than_root_holds_no_capability_but_may_gain_them_by_set_id(box: Box, user: str) -> None:
    status = fields(box.docker("run", "--rm", "-u", user, "busybox", "cat", "/proc/self/status").out)
    assert status["CapPrm"] == status["CapEff"] == status["CapInh"] == status["CapAmb"] == EMPTY
    assert int(status["CapBnd"], 16) == DEFAULT
    again = fields(box.sh("cat /proc/self/status", "-u", user))
    assert {name: again[name] for name in status if name.startswith(("Cap", "Uid", "Gid", "Groups"))} == {
        name: status[name] for name in status if name.startswith(("Cap", "Uid", "Gid", "Groups"))
    }


def test_groups_are_the_own_and_the_added_ones_and_none_of_the_engines(box: Box) -> None:
    def groups(*words: str) -> list[int]:
        text = box.docker("run", "--rm", *words, "busybox", "cat", "/proc/self/status").out
        return sorted(map(int, fields(text)["Groups"].split()))

    assert groups() == [0]
    assert groups("-u", "1000:7") == [7]
    assert groups("-u", "1000:7", "--group-add", "29", "--group-add", "users") == [7, 29, 100]


def test_a_file_that_is_closed_to_a_group_is_closed_to_its_members(box: Box) -> None:
    """Without setgroups a process that drops its group gains what the group is denied."""
    script = "echo x > /tmp/denied; chgrp 29 /tmp/denied; chmod 604 /tmp/denied"
    box.sh(script)
    assert box.docker("exec", "-u", "1000:29", "box", "cat", "/tmp/denied", check=False).rc == 1


def test_a_process_has_three_descriptors(box: Box) -> None:
    assert sorted(os.listdir(f"/proc/{box.pid}/fd")) == ["0", "1", "2"]
    # the shell's own ls has one for the directory it lists
    assert box.docker("exec", "box", "ls", "/proc/self/fd").out.split() == ["0", "1", "2", "3"]
    assert box.docker("run", "--rm", "busybox", "ls", "/proc/self/fd").out.split() == ["0", "1", "2", "3"]
    assert box.docker("run", "--rm", "-i", "busybox", "ls", "/proc/self/fd", input="").out.split() == list("0123")


def test_limits_are_the_daemons_unless_given(box: Box, engine: Engine) -> None:
    def limits(pid: int) -> list[str]:
        lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
        return [line for line in lines if not line.startswith(("Max open files", "Max processes", "Max core"))]

    daemon = engine.daemon
    if daemon is not None:
        assert limits(box.pid) == limits(daemon.pid)
    text = box.docker("run", "--rm", "--ulimit", "nofile=100:200", "busybox", "cat", "/proc/self/limits").out
    assert re.search(r"Max open files +100 +200 ", text)


def test_the_environment_is_made_from_nothing(box: Box, engine: Engine) -> None:
    environment = dict(
        item.split("=", 1) for item in Path(f"/proc/{box.pid}/environ").read_text().rstrip("\0").split("\0")
    )
    identity = box.docker("inspect", "-f", "{{.Id}}", "box").line
    assert environment == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME": identity[:12],
        "HOME": "/root",
    }
    assert "TERM=xterm" in box.docker("run", "--rm", "-t", "busybox", "env").out
    assert box.sh("hostname").strip() == identity[:12]


def test_namespaces_are_its_own_but_the_users(box: Box) -> None:
    def names(pid: int | str) -> dict[str, str]:
        return {
            name: os.readlink(f"/proc/{pid}/ns/{name}")
            for name in ("mnt", "net", "pid", "ipc", "uts", "user", "cgroup")
        }

    mine, own = names("self"), names(box.pid)
    shared = {name for name in mine if mine[name] == own[name]}
    assert shared == ({"user", "cgroup"} if cgroup.version() == 1 else {"user"})
    other = start(box_engine(box), "other", "--network", "none")
    assert all(own[name] != names(other.pid)[name] for name in ("mnt", "net", "pid", "ipc", "uts"))
    box.docker("rm", "-f", "other")


def box_engine(box: Box) -> Engine:
    engine = getattr(box.docker.inside, "__self__", None)
    assert isinstance(engine, Engine)
    return engine


SYSTEM_MOUNTS = {
    "/proc": ("proc", {"rw", "nosuid", "nodev", "noexec"}),
    "/dev": ("tmpfs", {"rw", "nosuid", "mode=755", "size=65536k"}),
    "/dev/pts": ("devpts", {"rw", "nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"}),
    "/sys": ("sysfs", {"ro", "nosuid", "nodev", "noexec"}),
    "/dev/mqueue": ("mqueue", {"rw", "nosuid", "nodev", "noexec"}),
    "/dev/shm": ("tmpfs", {"rw", "nosuid", "nodev", "noexec", "size=65536k"}),
}


def test_mounts_are_dockers_with_their_options(box: Box) -> None:
    mounts = box.mounts()
    for target, (kind, options) in SYSTEM_MOUNTS.items():
        assert mounts[target][0] == kind
        assert options <= mounts[target][1], (target, mounts[target][1])
    assert not mounts["/dev"][1] & {"noexec", "relatime", "noatime"}  # strictatime shows as neither
    groups = {target: options for target, (kind, options) in mounts.items() if kind in ("cgroup", "cgroup2")}
    assert groups
    assert all({"ro", "nosuid", "nodev", "noexec"} <= options for options in groups.values())
    assert box.sh("stat -c %a /dev/shm /dev/mqueue") == "1777\n1777\n"
    own = {"/", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", *SYSTEM_MOUNTS, *groups, "/sys/fs/cgroup"}
    covers = {target for target in mounts if target.startswith(("/proc/", "/sys/firmware", "/sys/devices"))}
    assert set(mounts) == own | covers
    assert [target for target in mounts if target in SYSTEM_MOUNTS or target == "/"] == ["/", *SYSTEM_MOUNTS]


def test_no_mount_travels_to_the_host(box: Box) -> None:
    lines = Path(f"/proc/{box.pid}/mountinfo").read_text().splitlines()
    assert not [line for line in lines if " shared:" in line]


_PROC = (
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
)
MASKED = [*(f"/proc/{name}" for name in _PROC), "/sys/firmware", "/sys/devices/virtual/powercap"]


@pytest.mark.parametrize("path", MASKED)
def test_what_is_masked_shows_nothing(box: Box, engine: Engine, path: str) -> None:
    if engine.kind == "dockerd" and path in ("/proc/interrupts", "/sys/devices/virtual/powercap"):
        pytest.skip("dockerd 20.10 does not mask it")
    kind = box.sh(f"[ -e {path} ] || echo none; [ -d {path} ] && echo directory; [ -c {path} ] && echo device; true")
    assert kind.strip() in ("none", "directory", "device")
    if kind.strip() == "directory":
        assert box.sh(f"ls -A {path}") == ""
        assert "ro" in box.mounts()[path][1]
        assert box.docker("exec", "box", "touch", f"{path}/x", check=False).rc == 1
    elif kind.strip() == "device":
        assert box.sh(f"cat {path}; stat -c %t:%T {path}") == "1:3\n"


def test_masks_are_the_containers_own_null_device(box: Box) -> None:
    """A chmod in the container must not reach the host's /dev/null."""
    before = os.stat("/dev/null").st_mode
    box.sh("chmod 600 /proc/kcore || true; chmod 600 /dev/null; chmod 666 /dev/null")
    assert os.stat("/dev/null").st_mode == before
    assert os.stat(f"/proc/{box.pid}/root/dev/null").st_dev != os.stat("/dev/null").st_dev


@pytest.mark.parametrize("path", ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"])
def test_what_is_read_only_is(box: Box, path: str) -> None:
    if not os.path.exists(path):
        pytest.skip(f"the kernel has no {path}")
    assert {"ro", "nosuid", "nodev", "noexec"} <= box.mounts()[path][1]


@pytest.mark.parametrize(
    "attempt",
    [
        "echo 1 > /proc/sys/kernel/panic",
        "echo x > /proc/sys/kernel/core_pattern",
        "echo b > /proc/sysrq-trigger",
        "echo 1 > /proc/irq/default_smp_affinity",
        "echo x > /sys/kernel/uevent_helper",
        "umount /proc/kcore",
        "umount /sys",
        "mount -o remount,rw /sys",
        "mount -o remount,rw /proc/sys",
        "mount -t proc proc /tmp",
        "mount -t cgroup -o memory cgroup /tmp",
        "unshare -r true",
        "unshare -m true",
        "nsenter -t 1 -m true",
        "echo $$ > $(find /sys/fs/cgroup -name cgroup.procs | head -n 1)",
        "echo a > $(find /sys/fs/cgroup -name devices.allow -o -name cgroup.freeze | head -n 1)",
        "d=$(echo /sys/fs/cgroup/*/release_agent | cut -d' ' -f1); echo /x > $d",
        "mknod /tmp/disk b 8 0 && dd if=/tmp/disk of=/dev/null count=1",
        "mknod /tmp/mem c 1 1 && dd if=/tmp/mem of=/dev/null count=1",
        "mknod /tmp/kmsg c 1 11 && dd if=/tmp/kmsg of=/dev/null count=1",
        "mknod /tmp/tun c 10 229 && dd if=/tmp/tun of=/dev/null count=1",
        "dmesg -c",
        "hostname other",
        "renice -n -5 1",
        "swapoff -a && swapon /bin/busybox",
        "chroot /proc/1/root/../.. ls /var/lib/dpkg",
        "ip link add dummy0 type dummy",
        "hwclock -w",
    ],
)
def test_what_would_reach_further_is_refused(box: Box, attempt: str) -> None:
    assert box.docker("exec", "box", "sh", "-c", attempt, check=False).rc not in (0, 126, 127)


def test_devices_are_the_seven_and_the_links(box: Box) -> None:
    names = set(box.sh("ls -A /dev").split())
    assert names == {
        *("null", "zero", "full", "random", "urandom", "tty"),
        *("fd", "stdin", "stdout", "stderr", "ptmx", "pts", "shm", "mqueue"),
        *(["core"] if os.path.exists("/proc/kcore") else []),
    }
    shown = box.sh("cd /dev; stat -c '%n %t:%T %a %u:%g' null zero full random urandom tty").splitlines()
    numbers = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
    assert shown == [f"{name} {number} 666 0:0" for name, number in numbers.items()]
    links = box.sh("cd /dev; for i in fd stdin stdout stderr ptmx; do readlink $i; done").split()
    assert links == ["/proc/self/fd", *(f"/proc/self/fd/{n}" for n in range(3)), "pts/ptmx"]
    assert "/dev/console" in box.docker("run", "--rm", "-t", "busybox", "sh", "-c", "ls /dev/console; tty").out


def test_device_rules_let_only_those_through(box: Box) -> None:
    if cgroup.version() == 2:
        pytest.skip("a device program has no text")
    rules = set(cgroup.read(box.pid, "devices.list", "").splitlines())
    expected = {"c *:* m", "b *:* m", "c 136:* rwm", "c 10:200 rwm"}
    expected |= {f"c 1:{minor} rwm" for minor in (3, 5, 7, 8, 9)} | {f"c 5:{minor} rwm" for minor in (0, 1, 2)}
    assert rules == expected


def test_sysctls_of_the_own_network(box: Box) -> None:
    assert box.sh("cat /proc/sys/net/ipv4/ping_group_range").split() == ["0", "2147483647"]
    assert box.sh("cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "0\n"
    other = box.docker(
        "run", "--rm", "--network", "host", "busybox", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"
    )
    assert other.out == "1024\n"


def test_the_engines_files_are_the_containers_own(box: Box) -> None:
    assert box.sh("cat /.dockerenv") == ""
    assert "127.0.0.1\tlocalhost" in box.sh("cat /etc/hosts")
    assert box.sh("cat /etc/hostname") == box.sh("hostname")
