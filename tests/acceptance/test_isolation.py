"""A container is a process of the host that sees a world of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from acceptance.conftest import inspect
from rig import Cli, cgroup, eventually


def test_the_process_has_its_own_pid_mounts_network_ipc_and_hostname(cli: Cli) -> None:
    script = "echo $$; hostname; for n in mnt net pid ipc uts user; do readlink /proc/self/ns/$n; done"
    pid, hostname, *inside = cli("run", "--rm", "-h", "inside", "busybox", "sh", "-c", script).out.split()
    assert (pid, hostname) == ("1", "inside")
    host = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "net", "pid", "ipc", "uts", "user")]
    assert all(here != there for here, there in zip(inside[:5], host[:5], strict=True))
    assert inside[5] == host[5]
    mounts = cli("run", "--rm", "busybox", "cat", "/proc/mounts").out
    assert str(Path.home()) not in mounts
    assert cli("run", "--rm", "busybox", "ls", "/sys/class/net").out.split() == ["eth0", "lo"]


def test_from_the_host_it_is_an_ordinary_process(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "busybox", "sleep", "1234")
    pid = inspect(cli, name)["State"]["Pid"]
    # the kernel lets go of what is closed by an execve before it shows the new command line
    eventually(lambda: Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001234\0")
    header, process = cli("top", name).out.splitlines()
    assert header.split()[:3] == ["UID", "PID", "PPID"]
    assert process.split()[1] == str(pid)
    assert process.endswith("sleep 1234")


def test_the_kernel_is_the_hosts(cli: Cli) -> None:
    assert cli("run", "--rm", "busybox", "uname", "-r").line == os.uname().release


def test_limits_are_in_the_cgroup_files(cli: Cli, name: str) -> None:
    limits = [
        "--memory",
        "64m",
        "--memory-reservation",
        "32m",
        "--cpus",
        "0.5",
        "--cpuset-cpus",
        "0",
        "--pids-limit",
        "77",
    ]
    cli("run", "-d", "--name", name, *limits, "--cpu-shares", "512", "busybox", "sleep", "1000")
    pid = inspect(cli, name)["State"]["Pid"]
    assert cgroup.read(pid, "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert cgroup.read(pid, "memory.soft_limit_in_bytes", "memory.low") == str(32 << 20)
    assert cgroup.read(pid, "pids.max", "pids.max") == "77"
    assert cgroup.read(pid, "cpuset.cpus", "cpuset.cpus") == "0"
    if cgroup.version() == 1:
        assert cgroup.read(pid, "cpu.cfs_quota_us", "") == "50000"
        assert cgroup.read(pid, "cpu.cfs_period_us", "") == "100000"
        assert cgroup.read(pid, "cpu.shares", "") == "512"
    else:
        assert cgroup.read(pid, "cpu.max", "cpu.max") == "50000 100000"
        assert cgroup.read(pid, "cpu.weight", "cpu.weight") == "20"  # 512 shares of 2..262144 on the scale 1..10000
    host = inspect(cli, name)["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"], host["CpusetCpus"]) == (64 << 20, 500_000_000, 77, "0")


def test_a_devices_read_rate_is_in_the_cgroup_file(cli: Cli, name: str) -> None:
    devices = [Path("/dev") / path.name for path in Path("/sys/block").iterdir()]
    device = next((path for path in devices if path.exists()), None)
    if device is None:
        pytest.skip("this machine has no block device to limit")
    cli("run", "-d", "--name", name, "--device-read-bps", f"{device}:1mb", "busybox", "sleep", "1000")
    pid = inspect(cli, name)["State"]["Pid"]
    number = device.stat().st_rdev
    rule = cgroup.read(pid, "blkio.throttle.read_bps_device", "io.max")
    assert rule.startswith(f"{os.major(number)}:{os.minor(number)} ")
    assert "1048576" in rule


def test_a_process_over_its_memory_is_killed_and_the_container_says_so(cli: Cli, name: str) -> None:
    result = cli("run", "--name", name, "--memory", "32m", "busybox", "tail", "/dev/zero", check=False)
    assert result.rc == 137
    state = inspect(cli, name)["State"]
    assert state["OOMKilled"] is True
    assert state["ExitCode"] == 137


def test_stats_accounts_for_cpu_memory_network_block_io_and_processes(cli: Cli, name: str) -> None:
    cli("run", "-d", "--name", name, "--memory", "64m", "busybox", "sh", "-c", "while :; do :; done")
    sample = json.loads(cli("stats", "--no-stream", "--format", "{{json .}}", name).out)
    assert sample["Name"] == name
    assert sample["PIDs"] == "1"
    assert sample["MemUsage"].endswith("/ 64MiB")
    assert " / " in sample["NetIO"] and " / " in sample["BlockIO"]
    busy = eventually(lambda: float(cli("stats", "--no-stream", "--format", "{{.CPUPerc}}", name).line.rstrip("%")))
    assert busy > 0
    header = cli("stats", "--no-stream", name).out.splitlines()[0]
    assert header.split("  ")[0] == "CONTAINER ID"


def test_default_privileges_are_dockers(cli: Cli) -> None:
    status = cli("run", "--rm", "busybox", "cat", "/proc/self/status").out
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["CapBnd"] == fields["CapPrm"] == fields["CapEff"] == "00000000a80425fb"
    assert fields["CapAmb"] == "0000000000000000"
    assert fields["Seccomp"] == "2"


@pytest.mark.parametrize(
    "attempt",
    [
        "mount -t tmpfs none /tmp",
        "umount /proc",
        "reboot -f",
        "! date -s @$(date +%s) 2>&1 | grep -q 'not permitted'",  # to what it is: harmless where it succeeds
        "chroot / unshare --mount true",
        "mknod /tmp/disk b 8 0 && head -c1 /tmp/disk",
        "echo 1 > /proc/sys/kernel/panic",
        "echo h > /proc/sysrq-trigger",
        "cd /sys/fs/cgroup/memory || cd /sys/fs/cgroup; mkdir escape",
        "swapoff -a && swapon /tmp",
        "insmod /bin/busybox",
    ],
)
def test_what_would_reach_the_host_is_refused(cli: Cli, attempt: str) -> None:
    assert cli("run", "--rm", "busybox", "sh", "-c", attempt, check=False).rc not in (0, 125, 126, 127)


def test_the_kernel_is_not_replaced_from_a_container(cli: Cli, python: str) -> None:
    # kexec_load of nothing: without the sandbox it would only unload a kernel that nobody loaded
    program = "import ctypes as c; l = c.CDLL(None, use_errno=True); print(l.syscall(246, 0, 0, 0, 0), c.get_errno())"
    assert cli("run", "--rm", python, "python", "-c", program).line == "-1 1"


def test_masked_paths_are_empty_and_read_only_paths_refuse(cli: Cli) -> None:
    assert cli("run", "--rm", "busybox", "sh", "-c", "cat /proc/kcore /proc/keys /proc/timer_list | wc -c").line == "0"
    assert cli("run", "--rm", "busybox", "ls", "-A", "/sys/firmware").out == ""
    refused = cli("run", "--rm", "busybox", "touch", "/sys/x", check=False)
    assert "Read-only file system" in refused.err
