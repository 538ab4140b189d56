"""A machine for one test daemon: own network namespace, own mounts, own cgroup; the host's /sys stays as it is.

The namespaces are held by a process that ends with this one (it reads a pipe), so a killed test run leaves none behind.
`ip netns exec` is not used: it mounts a new /sys and so hides the cgroup hierarchies.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rig.waiting import eventually

CGROUPS = Path("/sys/fs/cgroup")
SPARE = "tiffin-forkserver nursery"
"""What monitors are forked from, and those that wait for a container: now one process, now three."""
WAITING = (SPARE, "tiffin-forkserver stage")
"""With the stages that some of these monitors have already."""


class Machine:
    """Attributes: name, pid (of the holder), root (a directory of its own, short enough for socket paths)."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="tiffin-test-", dir="/tmp"))
        self.name = self.root.name
        self.cgroup_parent = f"/{self.name}"
        # shared among themselves, as on a machine with systemd: containers may ask for propagation
        setup = "ip link set lo up && mount --make-rshared / && echo ready && exec cat"
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", setup],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            raise RuntimeError("no namespaces for the test daemon: the tests need root, util-linux and iproute2")
        self.pid = self._holder.pid
        self._namespace = os.readlink(f"/proc/{self.pid}/ns/mnt")

    def inside(self, argv: Sequence[str | Path], *, mounts: bool = False, cwd: str | Path = "/") -> list[str]:
        """The command line that runs argv in this machine's network namespace, and among its mounts where asked."""
        return enter(self.pid, argv, mounts=mounts, cwd=cwd)

    def run(
        self, argv: Sequence[str | Path], *, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run argv in the network namespace; text in, text out."""
        defaults: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60}
        return subprocess.run(self.inside(argv), check=check, **(defaults | options))

    def popen(
        self, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, mounts: bool = True, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start argv in both namespaces, with `env` added to the environment."""
        return subprocess.Popen(self.inside(argv, mounts=mounts), env={**os.environ, **(env or {})}, **options)

    def processes(self) -> dict[int, str]:
        """pid -> command line of each process of this machine (its mounts, or its cgroups), without the holder."""
        found: dict[int, str] = {}
        for pid in all_pids():
            if pid != self._holder.pid and self._owns(pid):
                with contextlib.suppress(OSError):
                    found[pid] = (
                        Path(f"/proc/{pid}/cmdline")
                        .read_bytes()
                        .replace(b"\0", b" ")
                        .decode("utf-8", "replace")
                        .strip()
                    )
        return found

    def _owns(self, pid: int) -> bool:
        try:
            if os.readlink(f"/proc/{pid}/ns/mnt") == self._namespace:
                return True
            return f"{self.cgroup_parent}/" in Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            return False

    def mounts(self) -> list[str]:
        """Mount points in this machine's mount namespace."""
        return [line.split()[4] for line in Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()]

    def cgroups(self) -> list[Path]:
        """Cgroup directories under this machine's parent, in every hierarchy, children first."""
        tops = [CGROUPS / self.name, *CGROUPS.glob(f"*/{self.name}")]
        return [directory for top in tops if top.is_dir() for directory in sorted(walk(top), reverse=True)]

    def links(self) -> list[str]:
        """Names of the network interfaces in this machine's network namespace."""
        lines = self.run(["ip", "-o", "link"]).stdout.splitlines()
        return sorted(line.split(": ")[1].split("@")[0] for line in lines)

    def close(self) -> list[str]:
        """Kill what runs, remove what lies around; return a line for each thing that should not have been there."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: not self._orphans(), what="the end of the nurseries whose forkserver has ended")
        # a process that is about to be gone has given up its memory, and its command line with that
        left = [f"process {pid}: {command}" for pid, command in self.processes().items() if command]
        eventually(self._kill_everything, within=60, what=f"the end of the processes of {self.name}")
        for directory in self.cgroups():
            eventually(lambda at=directory: remove(at), within=60, what=f"rmdir {directory}")  # type: ignore[misc]
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait(timeout=60)
        shutil.rmtree(self.root, ignore_errors=True)
        return left

    def _orphans(self) -> bool:
        """Whether monitors that wait for a container outlive their forkserver: they see it end, a moment later."""
        commands = self.processes().values()
        return any(one in commands for one in WAITING) and not any(
            command.startswith("tiffin-forkserver /") for command in commands
        )

    def _kill_everything(self) -> bool:
        for directory in self.cgroups():
            state = directory / "freezer.state"
            if state.exists():
                with contextlib.suppress(OSError):
                    state.write_text("THAWED")
        for pid in (alive := self.processes()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return not alive


def enter(pid: int, argv: Sequence[str | Path], *, mounts: bool = False, cwd: str | Path = "/") -> list[str]:
    """The command line that runs argv in the network namespace of pid."""
    prefix = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    if mounts:
        prefix += [f"--mount=/proc/{pid}/ns/mnt", f"--wd={cwd}"]
    return [*prefix, "--", *map(str, argv)]


def all_pids() -> Iterator[int]:
    """Every process id of the machine, as of now."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def walk(top: Path) -> Iterator[Path]:
    """top and the directories below it."""
    for directory, _, _ in os.walk(top):
        yield Path(directory)


def remove(directory: Path) -> bool:
    """rmdir; True where it is gone, False while it is busy."""
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
