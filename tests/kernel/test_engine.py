"""The whole engine on this machine's control groups, by docker's command line: the same on v1, hybrid and v2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rig import Cli, eventually

pytestmark = pytest.mark.root
UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers").exists()
GROUP = "/sys/fs/cgroup"
# what is asked, the file that tells on v2, on v1, and what it says there
LIMITS = (
    ("--memory=64m", "memory.max", "memory/memory.limit_in_bytes", "67108864", "67108864"),
    ("--memory-reservation=32m", "memory.low", "memory/memory.soft_limit_in_bytes", "33554432", "33554432"),
    ("--cpus=0.5", "cpu.max", "cpu/cpu.cfs_quota_us", "50000 100000", "50000"),
    ("--cpu-shares=512", "cpu.weight", "cpu/cpu.shares", "20", "512"),
    ("--cpuset-cpus=0", "cpuset.cpus", "cpuset/cpuset.cpus", "0", "0"),
    ("--pids-limit=50", "pids.max", "pids/pids.max", "50", "50"),
)


def state(docker: Cli, name: str) -> dict[str, object]:
    found = json.loads(docker("inspect", "-f", "{{json .State}}", name).out)
    assert isinstance(found, dict)
    return found


def test_limits_are_the_kernels(docker: Cli) -> None:
    asked = [limit[0] for limit in LIMITS]
    files = [f"{GROUP}/{limit[1 if UNIFIED else 2]}" for limit in LIMITS]
    said = docker("run", "--rm", *asked, "busybox", "cat", *files).out.splitlines()
    assert said == [limit[3 if UNIFIED else 4] for limit in LIMITS]


def test_an_update_reaches_the_running_container(docker: Cli) -> None:
    docker("run", "-d", "--name", "one", "--memory=64m", "busybox", "sleep", "1000")
    docker("update", "--memory=96m", "--memory-swap=96m", "--pids-limit=70", "one")
    names = ("memory.max", "pids.max") if UNIFIED else ("memory/memory.limit_in_bytes", "pids/pids.max")
    assert docker("exec", "one", "cat", *(f"{GROUP}/{name}" for name in names)).out.split() == ["100663296", "70"]


def test_a_container_out_of_memory_is_told_from_one_that_was_killed(docker: Cli) -> None:
    greedy = "x=0123456789; while true; do x=$x$x; done"
    docker("run", "--name", "greedy", "--memory=16m", "--memory-swap=16m", "busybox", "sh", "-c", greedy, check=False)
    assert (state(docker, "greedy")["OOMKilled"], state(docker, "greedy")["ExitCode"]) == (True, 137)
    docker("run", "-d", "--name", "killed", "--memory=16m", "busybox", "sleep", "1000")
    docker("kill", "killed")
    eventually(lambda: state(docker, "killed")["Status"] == "exited")
    assert (state(docker, "killed")["OOMKilled"], state(docker, "killed")["ExitCode"]) == (False, 137)


def test_statistics_count_what_the_container_uses(docker: Cli) -> None:
    docker("run", "-d", "--name", "one", "--memory=64m", "busybox", "sh", "-c", "sleep 1000 & sleep 1000")
    shown = docker("stats", "--no-stream", "--format", "{{.MemUsage}}|{{.PIDs}}|{{.CPUPerc}}|{{.Name}}", "one").line
    memory, processes, share, name = shown.split("|")
    used, limit = memory.split(" / ")
    assert (processes, name, limit) == ("2", "one", "64MiB")
    assert float(share.removesuffix("%")) >= 0
    assert used not in ("0B", "--")


def test_a_paused_container_stands_still(docker: Cli) -> None:
    script = "i=0; while true; do i=$((i+1)); echo $i > /count; done"
    docker("run", "-d", "--name", "one", "busybox", "sh", "-c", script)

    def count() -> bytes:
        return Path(f"/proc/{state(docker, 'one')['Pid']}/root/count").read_bytes()

    eventually(count)
    docker("pause", "one")
    assert state(docker, "one")["Status"] == "paused"
    before = count()
    docker("version")
    assert count() == before
    docker("unpause", "one")
    eventually(lambda: count() != before)


def test_devices_are_those_of_the_rules(docker: Cli) -> None:
    script = "mknod /disk b 7 0; mknod /clock c 10 135; head -c1 /dev/zero >/dev/null && echo zero; cat /clock /disk"
    refused = docker("run", "--rm", "busybox", "sh", "-c", script, check=False)
    assert refused.out == "zero\n"
    assert refused.err.count("Operation not permitted") == 2
    # fuse, 10:229, whether or not the kernel has it: what may be opened is not "not permitted"
    rule = ("--device-cgroup-rule", "c 10:229 r")
    script = "mknod /fuse c 10 229; dd if=/fuse of=/dev/null count=0; echo --; echo x > /fuse"
    allowed = docker("run", "--rm", *rule, "busybox", "sh", "-c", f"({script}) 2>&1", check=False)
    read, written = allowed.out.split("--\n")
    assert ("Operation not permitted" in read, "Operation not permitted" in written) == (False, True)
    given = ("--device", "/dev/zero:/dev/nought:r")
    assert docker("run", "--rm", *given, "busybox", "head", "-c", "3", "/dev/nought").out == "\0\0\0"


def test_the_cgroup_namespace_is_as_docker_has_it(docker: Cli) -> None:
    def place(*options: str) -> str:
        lines = docker("run", "--rm", *options, "busybox", "cat", "/proc/self/cgroup").out.splitlines()
        return next(line.split(":", 2)[2] for line in lines if line.split(":")[1] in ("", "memory"))

    assert place("--cgroupns=private") == "/"
    assert place("--cgroupns=host").count("/") >= 2
    assert (place() == "/") == UNIFIED
    group = GROUP if UNIFIED else f"{GROUP}/memory"
    refused = docker("run", "--rm", "--cgroupns=private", "busybox", "mkdir", f"{group}/mine", check=False)
    assert "Read-only file system" in refused.err


def test_nothing_is_left_of_a_container_s_groups(docker: Cli) -> None:
    docker("run", "-d", "--name", "one", "--memory=64m", "busybox", "sleep", "1000")
    pid = state(docker, "one")["Pid"]
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    tops = {"": Path(GROUP) if UNIFIED else Path(GROUP) / "unified"}
    groups = [tops.get(names, Path(GROUP) / names) / path.lstrip("/") for _, names, path in lines if path != "/"]
    here = [group for group in groups if group.is_dir()]
    assert here
    docker("rm", "-f", "one")
    eventually(lambda: not any(group.exists() for group in here))
