"""Nothing left: disk space, descriptors."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.api import Failed
from faults.inventory import monitor_of, settled
from rig import Engine, eventually

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture(params=["ext4", "tmpfs"])
def small(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine whose data root is a file system of its own, of 256 MiB."""
    engine = Engine("tiffin", start=False)
    engine.data_root.mkdir()
    inside = ["nsenter", f"--mount=/proc/{engine.machine.pid}/ns/mnt", "--"]
    if request.param == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", engine.data_root]
    else:
        image = engine.root / "disk"
        with image.open("wb") as file:
            file.truncate(256 * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
        command = ["mount", "-o", "loop", image, engine.data_root]
    subprocess.run([*inside, *command], check=True)
    try:
        engine.start()
        engine.load("busybox")
        yield engine
    finally:
        engine.close()


def within(engine: Engine, path: Path) -> Path:
    """A path as the engine's mounts have it."""
    return Path(f"/proc/{engine.machine.pid}/root{path}")


def fill(engine: Engine) -> list[Path]:
    """Use up every byte of the data root: the files that hold them."""
    held = []
    for number, size in enumerate((MIB, 4096, 1)):
        path = within(engine, engine.data_root) / f"filler{number}"
        with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * size)
        held.append(path)
    status = os.statvfs(held[0])
    assert status.f_bavail == 0, status
    return held


def test_stop_and_rm_work_without_a_byte_left(small: Engine) -> None:
    api = settled(small)
    containers = [api.run("sleep", "100000") for _ in range(3)]
    made = api.create("true")
    fill(small)
    api.ask("POST", f"/containers/{containers[0]}/stop", t=0)
    assert api.state(containers[0])["Status"] == "exited"
    api.ask("POST", f"/containers/{containers[1]}/kill")
    api.wait(containers[1])
    with contextlib.suppress(Failed):
        api.start(made)  # it may say that there is no space, and nothing worse
    for container in (*containers, made):
        api.remove(container, force=True)
    assert api.ask("GET", "/containers/json", all=1) == []


def test_a_daemon_starts_without_a_byte_left(small: Engine) -> None:
    api = settled(small)
    container = api.run("sleep", "100000")
    held = fill(small)
    small.kill()
    small.start()
    assert api.state(container)["Running"]
    small.restart()
    assert api.state(container)["Running"]
    made = []
    try:
        made += [api.create("true") for _ in range(50)]
    except Failed as refusal:  # a directory costs nothing on tmpfs
        assert "no space left on device" in refusal.text
    for one in made:
        api.remove(one)
    api.remove(container, force=True)
    for path in held:
        path.unlink()
    api.remove(api.run("true"), force=True)


def test_a_full_disk_drops_log_lines_and_never_blocks_the_container(small: Engine) -> None:
    api = settled(small)
    script = (
        "echo first; until [ -e /dev/shm/go ]; do usleep 10000; done; i=0;"
        " while [ $i -lt 20000 ]; do i=$((i+1)); echo $i; done; touch /dev/shm/done;"
        " until [ -e /dev/shm/again ]; do usleep 10000; done; echo after; sleep 100000"
    )
    container = api.run("sh", "-c", script)
    shm = Path(f"/proc/{api.state(container)['Pid']}/root/dev/shm")
    eventually(lambda: api.logs(container)[0] == ["first"])
    held = fill(small)
    (shm / "go").touch()
    eventually((shm / "done").exists, what="the container wrote everything")
    for path in held:
        path.unlink()
    (shm / "again").touch()
    eventually(lambda: api.logs(container)[0][-1] == "after", what="lines are written again")
    # only now: what was in the pipe still when there was space again has been written too
    out, _ = api.logs(container)
    numbers = [int(line) for line in out[1:-1]]
    assert len(numbers) < 20000
    assert numbers == sorted(set(numbers))

    def counted() -> int:
        return sum(map(int, re.findall(r"(\d+) lines dropped", small.log.read_text())))

    eventually(lambda: counted() == 20000 - len(numbers), what=f"{20000 - len(numbers)} lines are told of")
    api.remove(container, force=True)


def test_a_daemon_without_descriptors_refuses_and_lives(start_engine: Callable[..., Engine]) -> None:
    engine = start_engine()
    api = settled(engine)
    container = api.run("sleep", "100000")
    assert engine.daemon is not None
    pid = engine.daemon.pid
    used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 24, before[1]))
    connections: list[socket.socket] = []
    try:
        for _ in range(200):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(0.2)
            connections.append(connection)
            try:
                connection.connect(str(engine.socket))
            except OSError:
                break  # its queue is full
            connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert engine.daemon.poll() is None
    finally:
        for connection in connections:
            connection.close()
    eventually(lambda: api.state(container)["Running"], errors=Exception, what="it answers again")
    # few descriptors: what needs more than there are is refused with a reason
    used = len(os.listdir(f"/proc/{pid}/fd"))
    for spare in range(1, 16):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + spare, before[1]))
        with contextlib.suppress(Failed, OSError):
            api.remove(api.run("true"), force=True)
        assert engine.daemon.poll() is None
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    eventually(lambda: api.state(container)["Running"], errors=Exception)
    assert monitor_of(engine, container)
    api.remove(container, force=True)
    api.remove(api.run("true"), force=True)
    for one in api.ask("GET", "/containers/json", all=1):
        api.remove(one["Id"], force=True)
