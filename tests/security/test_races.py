"""Containers that swap directories for links while the engine works in a volume they share; for a bounded time."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rig import Cli, Engine

pytestmark = pytest.mark.root

_EXCHANGE = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
first, second = (os.fsencode(path) for path in sys.argv[1:])
print("ready", flush=True)
while True:
    libc.renameat2(-100, first, -100, second, 2)
"""


@contextmanager
def exchanging(first: Path, second: Path) -> Iterator[None]:
    """Two names swap their places without pause, as a process of a container with the volume can do."""
    process = subprocess.Popen([sys.executable, "-c", _EXCHANGE, str(first), str(second)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A directory of the host's; nothing may be read of it, made in it or changed."""
    path = tmp_path / "host"
    path.mkdir(mode=0o700)
    (path / "file").write_text("secret\n")
    return path


def volume(docker: Cli, name: str) -> Path:
    docker("volume", "create", name)
    return Path(docker("volume", "inspect", "-f", "{{.Mountpoint}}", name).line)


def test_a_subpath_leads_nowhere_outside_of_its_volume(docker: Cli, secret: Path) -> None:
    data = volume(docker, "subpaths")
    (data / "here").mkdir()
    (data / "here/file").write_text("inside\n")
    (data / "there").symlink_to(secret)
    mount = "type=volume,src=subpaths,dst=/data,volume-subpath=here"
    seen = []
    with exchanging(data / "here", data / "there"):
        # A start looks the path up more than once, so one in five finds the directory each time.
        while len(seen) < 10 or ("inside\n" not in seen and len(seen) < 200):
            done = docker(
                "run", "--rm", "--network", "none", "--mount", mount, "busybox", "cat", "/data/file", check=False
            )
            seen.append(done.out)
    assert "inside\n" in seen
    assert set(seen) <= {"inside\n", ""}


def test_a_mount_target_that_is_swapped_makes_and_covers_nothing_on_the_host(docker: Cli, secret: Path) -> None:
    data = volume(docker, "targets")
    (data / "place").mkdir()
    (data / "link").symlink_to(f"/..{secret}")
    mounts = ["-v", "targets:/vol", "--tmpfs", "/vol/place/deep/er", "-v", f"{secret}/file:/vol/place/bound"]
    before = Path("/proc/self/mountinfo").read_text()
    with exchanging(data / "place", data / "link"):
        for _ in range(10):
            docker("run", "--rm", "--network", "none", *mounts, "busybox", "true", check=False)
    assert [path.name for path in secret.iterdir()] == ["file"]
    assert (secret / "file").read_text() == "secret\n"
    assert Path("/proc/self/mountinfo").read_text() == before


@pytest.mark.slow
def test_over_hundreds_of_starts_a_swapped_target_reaches_nothing(docker: Cli, secret: Path) -> None:
    data = volume(docker, "many")
    (data / "place").mkdir()
    (data / "link").symlink_to(f"/../../../../../../..{secret}")
    with exchanging(data / "place", data / "link"):
        for _ in range(400):
            docker(
                "run",
                "--rm",
                "--network",
                "none",
                "-v",
                "many:/vol",
                "--tmpfs",
                "/vol/place/a",
                "busybox",
                "true",
                check=False,
            )
    assert [path.name for path in secret.iterdir()] == ["file"]


def test_cp_stays_in_the_container_while_it_swaps_its_directories(
    docker: Cli, engine: Engine, secret: Path, tmp_path: Path
) -> None:
    docker("run", "-d", "--name", "swaps", "busybox", "sleep", "1000")
    docker("exec", "swaps", "sh", "-c", "mkdir /place; echo inside > /place/file")
    pid = docker("inspect", "-f", "{{.State.Pid}}", "swaps").line
    docker("exec", "swaps", "ln", "-s", str(secret), "/link")
    root = Path(f"/proc/{pid}/root")
    (tmp_path / "new").write_text("written\n")
    seen = set()
    with exchanging(root / "place", root / "link"):
        for number in range(10):
            docker("cp", str(tmp_path / "new"), f"swaps:/place/new{number}", check=False)
            out = tmp_path / "out"
            if docker("cp", "-L", "swaps:/place/file", str(out), check=False).rc == 0:
                seen.add(out.read_text())
                out.unlink()
    assert seen <= {"inside\n"}
    assert [path.name for path in secret.iterdir()] == ["file"]
    assert (secret / "file").read_text() == "secret\n"


def test_copying_into_a_fresh_volume_is_not_led_away(docker: Cli, engine: Engine, secret: Path) -> None:
    """The image's files go into an empty volume that another container swaps directories in meanwhile."""
    build = "mkdir -p /data/a/b/c; for i in $(seq 300); do echo x > /data/a/b/c/$i; done; ln /data/a/b/c/1 /data/z"
    docker("run", "--name", "made", "busybox", "sh", "-c", build)
    docker("commit", "made", "filled")
    data = volume(docker, "fresh")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            try:
                (data / "a").rename(data / "aside")
                (data / "a").symlink_to(secret)
            except OSError:
                continue

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(5):
            docker("run", "--rm", "--network", "none", "-v", "fresh:/data", "filled", "true", check=False)
            subprocess.run(["rm", "-rf", "--", *data.iterdir()], check=False)
    finally:
        stop.set()
        thread.join()
    assert [path.name for path in secret.iterdir()] == ["file"]
    assert (secret / "file").stat().st_nlink == 1
