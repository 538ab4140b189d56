"""What options widen or narrow, and nothing besides."""

from __future__ import annotations

import os
import stat

import pytest

from rig import Engine, cgroup
from security.boxes import DEFAULT, EMPTY, Box, check_process, fields, own_capabilities

pytestmark = pytest.mark.root


def test_privileged_is_everything_that_the_daemon_has(privileged: Box, engine: Engine) -> None:
    status = privileged.status()
    assert {int(status[f"Cap{name}"], 16) for name in ("Bnd", "Prm", "Eff")} == {own_capabilities()}
    assert status["CapInh"] == status["CapAmb"] == EMPTY
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("0", "0")
    mounts = privileged.mounts()
    assert "rw" in mounts["/sys"][1]
    assert all("rw" in options for kind, options in mounts.values() if kind in ("cgroup", "cgroup2"))
    assert not [target for target in mounts if target.startswith(("/proc/", "/sys/firmware"))]
    assert set(os.listdir("/dev")) - {"pts", "shm", "mqueue", "fd", "console"} <= set(
        privileged.sh("ls -A /dev").split()
    )
    if cgroup.version() == 1:
        assert cgroup.read(privileged.pid, "devices.list", "") == "a *:* rwm"


def test_a_privileged_container_still_has_namespaces_of_its_own(privileged: Box) -> None:
    for name in ("mnt", "net", "pid", "ipc", "uts"):
        assert os.readlink(f"/proc/self/ns/{name}") != os.readlink(f"/proc/{privileged.pid}/ns/{name}")


@pytest.mark.parametrize(
    ("words", "held"),
    [
        (["--cap-drop", "ALL"], 0),
        (["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"], 1 << 10),
        (["--cap-add", "CAP_SYS_PTRACE", "--cap-drop", "mknod"], DEFAULT & ~(1 << 27) | 1 << 19),
        (["--cap-drop", "CHOWN", "--cap-drop", "cap_kill"], DEFAULT & ~1 & ~(1 << 5)),
    ],
)
def test_capabilities_are_added_and_dropped(box: Box, words: list[str], held: int) -> None:
    status = fields(box.docker("run", "--rm", *words, "busybox", "cat", "/proc/self/status").out)
    assert {int(status[f"Cap{name}"], 16) for name in ("Bnd", "Prm", "Eff")} == {held}
    assert status["CapInh"] == status["CapAmb"] == EMPTY


def test_the_filter_goes_and_comes_with_its_option(box: Box, engine: Engine) -> None:
    def seccomp(*words: str) -> str:
        return fields(box.docker("run", "--rm", *words, "busybox", "cat", "/proc/self/status").out)["Seccomp"]

    assert seccomp("--security-opt", "seccomp=unconfined") == "0"
    assert seccomp("--cap-add", "SYS_ADMIN") == "2"
    if engine.kind == "tiffin":
        assert seccomp("--privileged") == "0"
        assert seccomp("--privileged", "--security-opt", "seccomp=builtin") == "2"


def test_no_new_privileges_takes_set_id_its_power(box: Box) -> None:
    words = ["--security-opt", "no-new-privileges", "busybox"]
    status = fields(box.docker("run", "--rm", *words, "cat", "/proc/self/status").out)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    script = (
        "cp /bin/busybox /tmp/su; chmod 4755 /tmp/su; mkdir /t; ln /tmp/su /t/id; su -s /bin/sh nobody -c '/t/id -u'"
    )
    assert box.docker("run", "--rm", *words, "sh", "-c", script).line == "65534"


def test_an_exec_in_a_privileged_way_widens_only_itself(box: Box, grants_everything: None) -> None:
    wide = fields(box.docker("exec", "--privileged", "box", "cat", "/proc/self/status").out)
    assert int(wide["CapEff"], 16) == own_capabilities()
    check_process(box.status())


def test_an_exec_gets_nothing_back_that_the_container_gave_up(box: Box, engine: Engine) -> None:
    words = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "-u", "1000"]
    docker = box.docker
    docker("run", "-d", "--name", "small", *words, "busybox", "sleep", "1000")
    for more in ([], ["-u", "0"]):
        status = fields(docker("exec", *more, "small", "cat", "/proc/self/status").out)
        assert {status[f"Cap{name}"] for name in ("Bnd", "Prm", "Eff", "Inh", "Amb")} == {EMPTY}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    docker("rm", "-f", "small")


def test_a_read_only_root_is_read_only(box: Box) -> None:
    script = (
        "touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo shm; touch /etc/hosts 2>/dev/null || echo hosts"
    )
    assert box.docker("run", "--rm", "--read-only", "busybox", "sh", "-c", script).out.split() == [
        "refused",
        "shm",
        "hosts",
    ]


def test_the_root_of_the_host_is_not_in_reach(box: Box) -> None:
    host = os.stat("/")
    for path in ("/", "/proc/1/root", "/proc/1/cwd", "/proc/self/root/.."):
        inside = os.stat(f"/proc/{box.pid}/root{path}" if path == "/" else f"/proc/{box.pid}/root/")
        assert (inside.st_dev, inside.st_ino) != (host.st_dev, host.st_ino)
    assert stat.S_ISDIR(host.st_mode)
